/*
 * plan_format.h: a plan's bytes, as flipgate-pack writes them and fg_plan_open checks them.
 *
 *   header | step_count steps | weights and biases, each 64-byte aligned | golden inputs | golden
 * outputs
 *
 * Little-endian; offsets count from the first byte of the header and are multiples of 64; shapes
 * are (rows, cols). Every step reads one or two places and writes one. A place is the plan's input,
 * its output, or a buffer in scratch memory, which several steps use one after the other.
 */
#ifndef FG_MODELS_PLAN_FORMAT_H
#define FG_MODELS_PLAN_FORMAT_H

#include <stdint.h>
#include "models/kernels.h"

#define FG_PLAN_MAGIC	    0x4c504746u /* "FGPL" */
#define FG_PLAN_VERSION	    1u
#define FG_PLAN_ALIGN	    64u
#define FG_PLAN_MAX_COLS    (1u << 20)
#define FG_PLAN_MAX_STEPS   4096u
#define FG_PLAN_MAX_BUFFERS 16u
#define FG_PLAN_MAX_GOLDEN  4096u
#define FG_PLAN_LABEL_BYTES 32
/* fg_plan_run takes a longer batch in blocks of this many rows, so that what flows between steps
 * stays in cache; a multiple of the dense kernel's 6 rows. */
#define FG_PLAN_BLOCK_ROWS 48u

/* Places. FG_PLACE_BUFFER + i is buffer i. */
#define FG_PLACE_NONE	0u
#define FG_PLACE_INPUT	1u
#define FG_PLACE_OUTPUT 2u
#define FG_PLACE_BUFFER 3u

struct fg_plan_step {
	uint32_t kind;	     /* enum fg_step_kind */
	uint32_t activation; /* enum fg_activation; NONE for SOFTMAX */
	uint32_t in;	     /* place: the input or a buffer */
	uint32_t other;	     /* ADD: place, or NONE: the row at `bias` is added to every row */
	uint32_t out;	     /* place: a buffer, or the output in the last step */
	uint32_t in_cols;    /* 1 .. FG_PLAN_MAX_COLS; == out_cols but for DENSE */
	uint32_t out_cols;
	float alpha;	  /* finite */
	uint64_t weights; /* DENSE: offset of the panels (models/kernels.h) */
	uint64_t bias;	  /* DENSE, ADD without other: offset of whole panels' bias */
	char label[FG_PLAN_LABEL_BYTES]; /* for people; printable ASCII, NUL-terminated */
	uint8_t zero[16];
};

struct fg_plan_header {
	uint32_t magic;
	uint32_t version;
	uint64_t size;	 /* of the whole plan */
	uint64_t digest; /* XXH3_64bits of everything behind this field */
	uint32_t in_cols;
	uint32_t out_cols;
	uint32_t step_count;			   /* 1 .. FG_PLAN_MAX_STEPS */
	uint32_t buffer_count;			   /* 0 .. FG_PLAN_MAX_BUFFERS */
	uint32_t buffer_cols[FG_PLAN_MAX_BUFFERS]; /* multiples of FG_PANEL_COLS */
	uint64_t golden_inputs;			   /* offset of (golden_rows, in_cols) f32 */
	uint64_t golden_outputs;		   /* offset of (golden_rows, out_cols) f32 */
	uint32_t golden_rows;			   /* 0 .. FG_PLAN_MAX_GOLDEN */
	uint32_t golden_shipped; /* 1: the version shipped them; 0: the C reference made them */
	float golden_tolerance;	 /* > 0, <= 1: |got - wanted| <= tolerance * (1 + |wanted|) */
	uint32_t zero[15];
};

_Static_assert(sizeof(struct fg_plan_step) == 96, "the format is fixed");
_Static_assert(sizeof(struct fg_plan_header) == 192, "the format is fixed");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "plans and models are little-endian");

#endif
