#include <math.h>
#include "models/pack.h"
#include "models/plan_shape.h"

static void set_wide(struct fg_plan_shape *shape, enum fg_wide_operation operation)
{
	const struct fg_wide_shape wide = fg_wide_shape(operation);

	shape->cols = FG_PLAN_COLS_WIDE;
	shape->elementwise = true;
	shape->other = wide.others;
	shape->in_width = wide.in_cols;
	shape->out_width = wide.out_cols;
	shape->activation = operation == FG_WIDE_F64_ACTIVATION;
}

struct fg_plan_shape fg_plan_shape_of(enum fg_step_kind kind, enum fg_wide_operation operation)
{
	struct fg_plan_shape shape = {.in = kind != FG_STEP_FILL};

	switch (kind) {
	case FG_STEP_DENSE:
		shape.activation = true;
		break;
	case FG_STEP_ACTIVATION:
	case FG_STEP_AFFINE:
	case FG_STEP_CENTER:
	case FG_STEP_ADD ... FG_STEP_EQUAL:
		shape.cols = FG_PLAN_COLS_SAME;
		shape.elementwise = shape.activation = true;
		shape.other = kind >= FG_STEP_ADD && kind <= FG_STEP_EQUAL;
		break;
	case FG_STEP_SELECT:
	case FG_STEP_LOOKUP:
		shape.cols = FG_PLAN_COLS_SAME;
		shape.elementwise = true;
		shape.other = shape.third = kind == FG_STEP_SELECT;
		break;
	case FG_STEP_SOFTMAX:
	case FG_STEP_LOG_SOFTMAX:
	case FG_STEP_NORMALIZE:
	case FG_STEP_FILL:
		shape.cols = FG_PLAN_COLS_SAME;
		break;
	case FG_STEP_REDUCE_SUM ... FG_STEP_ARG_MIN:
		shape.cols = FG_PLAN_COLS_ONE;
		break;
	case FG_STEP_WIDE:
		set_wide(&shape, operation);
		break;
	case FG_STEP_WIDE_SELECT:
	case FG_STEP_WIDE_LOOKUP:
		shape.cols = FG_PLAN_COLS_WIDE;
		shape.elementwise = true;
		shape.other = shape.third = kind == FG_STEP_WIDE_SELECT;
		shape.in_width = kind == FG_STEP_WIDE_SELECT ? 1 : 2;
		shape.out_width = kind == FG_STEP_WIDE_SELECT ? 2 : 1;
		break;
	case FG_STEP_WIDE_REDUCE:
	case FG_STEP_EMBED:
	case FG_STEP_COLUMNS:
	case FG_STEP_KIND_COUNT:
		break;
	}
	return shape;
}

bool fg_plan_operation_ok(const struct fg_plan_step *step)
{
	int exponent;

	switch (step->operation) {
	case FG_WIDE_NONE:
		return step->kind != FG_STEP_WIDE && step->kind != FG_STEP_WIDE_REDUCE;
	case FG_WIDE_I64_ADD:
	case FG_WIDE_I64_MIN:
	case FG_WIDE_I64_MAX:
	case FG_WIDE_U64_MIN:
	case FG_WIDE_U64_MAX:
	case FG_WIDE_F64_ADD:
	case FG_WIDE_F64_MIN:
	case FG_WIDE_F64_MAX:
		return step->kind == FG_STEP_WIDE || step->kind == FG_STEP_WIDE_REDUCE;
	case FG_WIDE_I64_WRAP:
	case FG_WIDE_I64_LIMIT:
		return step->kind == FG_STEP_WIDE && step->beta > 1 && step->beta <= 0x1p32f &&
		       frexpf(step->beta, &exponent) == 0.5f &&
		       (step->alpha == 0 || step->alpha == -step->beta / 2);
	default:
		return step->kind == FG_STEP_WIDE;
	}
}

uint64_t fg_plan_weights_bytes(const struct fg_plan_step *step)
{
	switch ((enum fg_step_kind)step->kind) {
	case FG_STEP_DENSE:
		return fg_pack_bytes(step->format, step->in_cols, step->out_cols);
	case FG_STEP_AFFINE:
	case FG_STEP_NORMALIZE:
		return (uint64_t)step->out_cols * sizeof(float);
	case FG_STEP_CENTER:
		return 2 * (uint64_t)step->out_cols * sizeof(float);
	case FG_STEP_COLUMNS:
		return (uint64_t)step->out_cols * sizeof(uint32_t);
	case FG_STEP_EMBED:
		return (uint64_t)step->entries * step->out_cols * sizeof(float);
	case FG_STEP_LOOKUP:
		return (uint64_t)step->entries * sizeof(float);
	case FG_STEP_WIDE_LOOKUP:
		return (uint64_t)step->entries * sizeof(int64_t);
	default:
		return 0;
	}
}

uint64_t fg_plan_bias_bytes(const struct fg_plan_step *step)
{
	switch ((enum fg_step_kind)step->kind) {
	case FG_STEP_DENSE:
		return (uint64_t)fg_panels(step->out_cols) * FG_PANEL_COLS * sizeof(float);
	case FG_STEP_AFFINE:
	case FG_STEP_CENTER:
	case FG_STEP_NORMALIZE:
	case FG_STEP_FILL:
		return (uint64_t)step->out_cols * sizeof(float);
	case FG_STEP_LOOKUP:
		return (uint64_t)step->entries * sizeof(float);
	default:
		return 0;
	}
}
