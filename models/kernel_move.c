/* Kernels that move floats and compute none. The same code for every ISA: they wait for memory. */
#include <math.h>
#include <string.h>
#include "models/kernel_isa.h"

/* Row `i` of a table, as EMBED counts, or NULL. */
static const float *embedded(const struct fg_kernel_args *args, float i)
{
	const float *table = args->weights;

	if (i != truncf(i))
		return NULL;
	if (i < 0 && args->alpha < 0)
		i += (float)args->entries;
	if (!(i >= 0 && i < (float)args->entries))
		return NULL;
	return table + (size_t)i * args->out_cols;
}

void FG_KERNEL(EMBED)(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++) {
		const float *from = embedded(args, fg_get(args->in, row * args->in_stride));
		float *out = args->out + row * args->out_stride;

		if (from)
			memcpy((void *)out, from, args->out_cols * sizeof(float));
		else
			for (uint32_t col = 0; col < args->out_cols; col++)
				fg_put(out, col, NAN);
	}
}

void FG_KERNEL(COLUMNS)(const struct fg_kernel_args *args)
{
	const uint32_t *from = args->weights;

	for (uint32_t row = 0; row < args->rows; row++)
		for (uint32_t col = 0; col < args->out_cols; col++)
			fg_put(args->out + row * args->out_stride, col,
			       fg_get(args->in + row * args->in_stride, from[col]));
}

void FG_KERNEL(FILL)(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		memcpy((void *)(args->out + row * args->out_stride), args->bias,
		       args->out_cols * sizeof(float));
}

/* The entry whose key is x, or `entries`. Keys go upward, NaN last. */
static uint32_t find(const float *keys, uint32_t entries, float x)
{
	uint32_t low = 0, high = entries;

	if (isnan(x))
		return isnan(keys[entries - 1]) ? entries - 1 : entries;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (keys[middle] < x)
			low = middle + 1;
		else
			high = middle;
	}
	return low < entries && keys[low] == x ? low : entries;
}

void FG_KERNEL(LOOKUP)(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		for (uint32_t col = 0; col < args->out_cols; col++) {
			float x = fg_get(args->in + row * args->in_stride, col);
			uint32_t at = find(args->weights, args->entries, x);

			fg_put(args->out + row * args->out_stride, col,
			       at < args->entries ? args->bias[at] : args->alpha);
		}
}
