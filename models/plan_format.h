/*
 * plan_format.h: a plan's bytes, as flipgate-pack writes them and fg_plan_open checks them.
 *
 *   header | ports: inputs, then outputs | steps | constants and texts, each 64-byte aligned |
 *   golden inputs | golden outputs | warm-up batches | warm-up inputs
 *
 * Little-endian; offsets count from the first byte of the header and are multiples of 64; shapes
 * are (rows, cols). A step reads up to three places and writes one. A place is the plan's input,
 * its output, or a buffer in scratch memory, which several steps use one after the other; a step
 * works on a run of its columns. Each column of a buffer or of the output is written before it is
 * read.
 */
#ifndef FG_MODELS_PLAN_FORMAT_H
#define FG_MODELS_PLAN_FORMAT_H

#include <stdint.h>
#include "models/kernels.h"

#define FG_PLAN_MAGIC		0x4c504746u /* "FGPL" */
#define FG_PLAN_VERSION		4u
#define FG_PLAN_ALIGN		64u
#define FG_PLAN_MAX_COLS	(1u << 20)
#define FG_PLAN_MAX_STEPS	4096u
#define FG_PLAN_MAX_BUFFERS	64u
#define FG_PLAN_MAX_PORTS	256u /* inputs and outputs together */
#define FG_PLAN_MAX_RANK	8u
#define FG_PLAN_MAX_GOLDEN	4096u
#define FG_PLAN_MAX_WARMUP	1000u /* batches; what TensorFlow Serving takes */
#define FG_PLAN_LABEL_BYTES	32
#define FG_PLAN_NAME_BYTES	64
#define FG_PLAN_MAX_WARMUP_ROWS 4096u
/* fg_plan_run takes a longer batch in blocks of this many rows, so that what flows between steps
 * stays in cache. */
#define FG_PLAN_BLOCK_ROWS 48u

/* Places. FG_PLACE_BUFFER + i is buffer i. */
#define FG_PLACE_NONE	  0u
#define FG_PLACE_INPUT	  1u
#define FG_PLACE_OUTPUT	  2u
#define FG_PLACE_CONSTANT 3u /* `other` only: one row (groups * out_cols) at `constant` */
#define FG_PLACE_BUFFER	  4u

/* Where a step reads or writes: columns `first` and up of every row at `place`. */
struct fg_plan_span {
	uint32_t place;
	uint32_t first;
};

/*
 * One kernel call (models/kernels.h). Where groups > 1 the row's columns are (groups, cols) for
 * each of in (cols: in_cols), other, third and out (out_cols), and the kernel sees one row for each
 * group. Fields that a kind does not use are 0.
 */
struct fg_plan_step {
	uint32_t kind;	     /* enum fg_step_kind */
	uint32_t activation; /* enum fg_activation */
	struct fg_plan_span in;
	struct fg_plan_span other; /* DENSE (residual), ADD .. EQUAL, SELECT, WIDE, WIDE_SELECT */
	struct fg_plan_span third; /* SELECT, WIDE_SELECT */
	struct fg_plan_span out;
	uint32_t groups;   /* >= 1; elementwise kinds: 1 */
	uint32_t in_cols;  /* of one group; groups * in_cols is 1 .. FG_PLAN_MAX_COLS */
	uint32_t out_cols; /* likewise */
	uint32_t entries;  /* EMBED, LOOKUP, WIDE_LOOKUP: >= 1 */
	float alpha;	   /* not NaN; may be infinite (CLIP, LOOKUP: also NaN) */
	float beta;
	uint64_t weights;		 /* offset */
	uint64_t weights_bytes;		 /* as the kind, format and shape say */
	uint64_t bias;			 /* offset; DENSE: of whole panels */
	uint64_t constant;		 /* offset */
	uint32_t format;		 /* enum fg_weights; DENSE */
	char label[FG_PLAN_LABEL_BYTES]; /* for people; printable ASCII, NUL-terminated */
	uint32_t operation;		 /* enum fg_wide_operation; WIDE, WIDE_REDUCE */
	uint8_t zero[24];
};

/* An input or output of the model: columns first .. first + cols - 1 of a row. */
struct fg_plan_port {
	char name[FG_PLAN_NAME_BYTES]; /* printable ASCII, NUL-terminated */
	uint32_t first;
	uint32_t cols;
	uint32_t rank; /* without the batch: 0 .. FG_PLAN_MAX_RANK - 1; cols is the product of: */
	uint32_t dims[FG_PLAN_MAX_RANK - 1];
	uint32_t integer;     /* 1: whole numbers in the model file (ids, classes) */
	uint32_t label_count; /* of texts that belong to an output (class labels), else 0 */
	uint64_t labels;      /* offset of label_count NUL-terminated UTF-8 texts; 0: none */
	uint64_t labels_bytes;
	uint32_t named_columns; /* 1: text i is the name of column i; 0: a number i means text i */
	uint8_t zero[12];
};

struct fg_plan_header {
	uint32_t magic;
	uint32_t version;
	uint64_t size;	 /* of the whole plan */
	uint64_t digest; /* XXH3_64bits of everything behind this field */
	uint32_t in_cols;
	uint32_t out_cols;
	uint32_t input_count;  /* >= 1; their columns follow each other and fill in_cols */
	uint32_t output_count; /* >= 1; and out_cols */
	uint32_t step_count;   /* 1 .. FG_PLAN_MAX_STEPS */
	uint32_t buffer_count; /* 0 .. FG_PLAN_MAX_BUFFERS */
	uint32_t buffer_cols[FG_PLAN_MAX_BUFFERS]; /* multiples of FG_PANEL_COLS */
	uint64_t golden_inputs;			   /* offset of (golden_rows, in_cols) f32 */
	uint64_t golden_outputs;		   /* offset of (golden_rows, out_cols) f32 */
	uint32_t golden_rows;			   /* 0 .. FG_PLAN_MAX_GOLDEN */
	uint32_t golden_shipped; /* 0: made by the C reference; else by the version: in
				    1: golden.json, 2: golden.npz */
	float golden_tolerance;	 /* > 0, <= 1: |got - wanted| <= tolerance * (1 + |wanted|) */
	uint32_t format;	 /* enum fg_weights that was asked for */
	float format_error; /* measured when packed: the largest |got - f32| / (1 + |f32|) over the
			       golden rows; 0 for F32 */
	uint32_t warmup_count;	 /* batches to warm up with: 0 .. FG_PLAN_MAX_WARMUP */
	uint64_t warmup_batches; /* offset of (warmup_count) u32: the rows of each, >= 1; 0: none */
	uint64_t warmup_inputs;	 /* offset of (warmup_rows, in_cols) f32; 0: none */
	uint32_t warmup_rows;	 /* of all batches together: 0 .. FG_PLAN_MAX_WARMUP_ROWS */
	uint32_t zero[5];
};

/* The tables behind the header, where the counts are known to be right. */
static inline const struct fg_plan_port *fg_plan_ports(const struct fg_plan_header *header)
{
	return (const struct fg_plan_port *)(header + 1);
}

static inline const struct fg_plan_step *fg_plan_steps(const struct fg_plan_header *header)
{
	return (const struct fg_plan_step *)(fg_plan_ports(header) + header->input_count +
					     header->output_count);
}

_Static_assert(sizeof(struct fg_plan_span) == 8, "the format is fixed");
_Static_assert(sizeof(struct fg_plan_step) == 160, "the format is fixed");
_Static_assert(sizeof(struct fg_plan_port) == 144, "the format is fixed");
_Static_assert(sizeof(struct fg_plan_header) == 384, "the format is fixed");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "plans and models are little-endian");

#endif
