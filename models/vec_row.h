/* vec_row.h: sums over a row, in an order that depends on its length only. */
#ifndef FG_MODELS_VEC_ROW_H
#define FG_MODELS_VEC_ROW_H

#include "models/vec_math.h"

/*
 * A sum in four partial vectors, which take turns: an addition waits for the fourth last, not for
 * the last, and long rows lose fewer digits. Starts as all zeros.
 */
struct fg_vec_sum {
	fg_vec a, b, c, d;
};

FG_VEC_INLINE struct fg_vec_sum fg_vec_sum_zero(void)
{
	const fg_vec zero = fg_vec_set(0.0f);

	return (struct fg_vec_sum){zero, zero, zero, zero};
}

/* `next` is sum->a with something added. */
FG_VEC_INLINE void fg_vec_sum_turn(struct fg_vec_sum *sum, fg_vec next)
{
	sum->a = sum->b;
	sum->b = sum->c;
	sum->c = sum->d;
	sum->d = next;
}

FG_VEC_INLINE float fg_vec_sum_all(const struct fg_vec_sum *sum)
{
	return fg_vec_hsum(fg_vec_add(fg_vec_add(sum->a, sum->b), fg_vec_add(sum->c, sum->d)));
}

/* The sum over a row: add(sum, x, about) is sum plus what x is worth; x = fill is worth 0. */
FG_VEC_INLINE float fg_vec_row_sum(const float *in, uint32_t count,
				   fg_vec (*const add)(fg_vec sum, fg_vec x, fg_vec about),
				   fg_vec about, fg_vec fill)
{
	struct fg_vec_sum sum = fg_vec_sum_zero();
	uint32_t i = 0;

	for (; count - i >= FG_VEC_LANES; i += FG_VEC_LANES)
		fg_vec_sum_turn(&sum, add(sum.a, fg_vec_load(in + i), about));
	if (i < count)
		sum.a = add(sum.a, fg_vec_load_n(in + i, count - i, fill), about);
	return fg_vec_sum_all(&sum);
}

#endif
