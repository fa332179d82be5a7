/*
 * warmup.h: the requests that a version ships to be warmed up with, as TensorFlow Serving has it.
 *
 * assets.extra/tf_serving_warmup_requests is a TFRecord file (models/tfrecord.h) of
 * tensorflow.serving.PredictionLog messages (tensorflow_serving/apis/prediction_log.proto,
 * predict.proto). The inputs of a predict_log's request become the rows of one batch: each tensor
 * (models/tf_tensor.h) has the batch first, the rest of its shape makes the columns of the model's
 * input of that name. A ":0" behind a name does not count; a model with one input takes any name.
 * Names of signatures and outputs, and answers, are not looked at.
 *
 * Other records (classify_log, regress_log and so on, which hold tf.Example messages; requests with
 * texts) are skipped: they belong to signatures that are no models of numbers.
 */
#ifndef FG_MODELS_WARMUP_H
#define FG_MODELS_WARMUP_H

#include <stddef.h>
#include <stdint.h>
#include "models/arena.h"
#include "models/error.h"
#include "models/plan.h"

#define FG_WARMUP_FOLDER     "assets.extra"
#define FG_WARMUP_FILE	     "tf_serving_warmup_requests"
#define FG_WARMUP_MAX_BYTES  (64u << 20) /* of the file */
#define FG_WARMUP_MAX_FLOATS (4u << 20)	 /* of all rows that are kept */

/* An arena owns what it points to. */
struct fg_warmup {
	uint32_t count;	      /* of requests taken: 0 .. FG_PLAN_MAX_WARMUP */
	uint32_t rows;	      /* of all together: 0 .. FG_PLAN_MAX_WARMUP_ROWS */
	uint32_t *batches;    /* (count): rows of each, >= 1 */
	float *inputs;	      /* (rows, in_cols), one batch behind the other */
	uint64_t rows_left;   /* beyond FG_PLAN_MAX_WARMUP_ROWS or FG_WARMUP_MAX_FLOATS */
	uint32_t skipped;     /* records */
	struct fg_error note; /* why the first of them was skipped */
};

/* Reads the file below the version's directory `dirfd` into `arena`. 0; -ENOENT: there is none;
 * -EFBIG; other -errno, all but -ENOENT with *error. */
int fg_warmup_load(int dirfd, struct fg_arena *arena, const void **bytes, size_t *size,
		   struct fg_error *error);

/*
 * Makes rows for `plan`'s inputs of the file's `size` bytes at `bytes`, all memory in `arena`. As
 * in TensorFlow Serving a file that is damaged, has more than FG_PLAN_MAX_WARMUP records, or holds
 * a request that does not fit is an error: -EINVAL with *error naming the record, the input and
 * what it should be; -ENOMEM.
 */
int fg_warmup_read(struct fg_warmup *warmup, const struct fg_plan *plan, const void *bytes,
		   size_t size, struct fg_arena *arena, struct fg_error *error);

#endif
