/* ops_number.h: what is known of numbers, for the files that lower them: ops_number.c, ops_cast.c.
 * Failures are kept as in models/ops_lower.h. */
#ifndef FG_MODELS_OPS_NUMBER_H
#define FG_MODELS_OPS_NUMBER_H

#include "models/ops_lower.h"

#define FG_NUMBER_EXACT 0x1p24 /* up to here, floats hold every whole number */

struct fg_range {
	double low, high; /* both included */
};

/* Of a whole value, and of all integers of a type. */
struct fg_range fg_number_range(const struct fg_ir_value *value);
struct fg_range fg_number_type_range(struct fg_integer integer);

static inline bool fg_number_is_small(struct fg_range range)
{
	return range.low >= -FG_NUMBER_EXACT && range.high <= FG_NUMBER_EXACT;
}

static inline bool fg_number_is_u64(struct fg_integer integer)
{
	return integer.is_unsigned && !integer.bits;
}

static inline bool fg_number_is_u32(struct fg_integer integer)
{
	return integer.is_unsigned && integer.bits == 32;
}

/* fg_ir_to_form, fg_ir_wide. */
struct fg_ir_value fg_number_to_form(struct fg_lower *at, struct fg_ir_value in,
				     enum fg_ir_form form);
struct fg_ir_value fg_number_operate(struct fg_lower *at, struct fg_ir_wide wide,
				     const struct fg_ir_value *a, const struct fg_ir_value *b);

/* `value` holds integers of that type in that range: as floats where those are exact. */
struct fg_ir_value fg_number_settle(struct fg_lower *at, struct fg_ir_value value,
				    struct fg_integer integer, struct fg_range range);
/* `value` is 0 or 1. */
struct fg_ir_value fg_number_truth(struct fg_lower *at, struct fg_ir_value value);
/* Whole numbers in `range`, batched or constant, modulo what integers of the type can be. */
struct fg_ir_value fg_number_wrap(struct fg_lower *at, struct fg_ir_value in,
				  struct fg_integer integer, struct fg_range range);
struct fg_ir_value fg_number_wrap_constant(struct fg_lower *at, struct fg_ir_value in,
					   struct fg_integer integer);

#endif
