/* The elementwise kernels: activations alone, and the sum of two rows. */
#include <math.h>
#include "models/kernel_isa.h"

#ifdef FG_ISA_c

static float activate_one(float x, enum fg_activation activation, float alpha)
{
	switch (activation) {
	case FG_ACTIVATION_RELU:
		return x < 0.0f ? 0.0f : x;
	case FG_ACTIVATION_LEAKY_RELU:
		return x < 0.0f ? alpha * x : x;
	case FG_ACTIVATION_SIGMOID:
		return x < 0.0f ? expf(x) / (1.0f + expf(x)) : 1.0f / (1.0f + expf(-x));
	case FG_ACTIVATION_TANH:
		return tanhf(x);
	default:
		return x;
	}
}

void fg_activate(const float *in, float *out, uint32_t count, enum fg_activation activation,
		 float alpha)
{
	for (uint32_t i = 0; i < count; i++)
		fg_put(out, i, activate_one(fg_get(in, i), activation, alpha));
}

static void add_row(const float *in, const float *other, float *out, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		fg_put(out, i, fg_get(in, i) + fg_get(other, i));
}

#else

#include "models/vec_math.h"

static inline __attribute__((always_inline)) fg_vec
activate_vec(fg_vec x, const enum fg_activation activation, float alpha)
{
	switch (activation) {
	case FG_ACTIVATION_RELU:
		return fg_vec_relu(x);
	case FG_ACTIVATION_LEAKY_RELU:
		return fg_vec_leaky_relu(x, fg_vec_set(alpha));
	case FG_ACTIVATION_SIGMOID:
		return fg_vec_sigmoid(x);
	case FG_ACTIVATION_TANH:
		return fg_vec_tanh(x);
	default:
		return x;
	}
}

static inline __attribute__((always_inline)) void activate_all(const float *in, float *out,
							       uint32_t count,
							       const enum fg_activation activation,
							       float alpha)
{
	uint32_t i = 0;

	for (; count - i >= FG_VEC_LANES; i += FG_VEC_LANES)
		fg_vec_store(out + i, activate_vec(fg_vec_load(in + i), activation, alpha));
	if (i < count) {
		fg_vec x = fg_vec_load_n(in + i, count - i, fg_vec_set(0.0f));

		fg_vec_store_n(out + i, activate_vec(x, activation, alpha), count - i);
	}
}

/* One loop per activation, so that none decides inside its loop. */
void fg_activate(const float *in, float *out, uint32_t count, enum fg_activation activation,
		 float alpha)
{
	switch (activation) {
#define FG_ACTIVATE_CASE(name, label)                                                              \
	case FG_ACTIVATION_##name:                                                                 \
		activate_all(in, out, count, FG_ACTIVATION_##name, alpha);                         \
		break;
		FG_ACTIVATIONS(FG_ACTIVATE_CASE)
#undef FG_ACTIVATE_CASE
	default:
		break;
	}
}

static void add_row(const float *in, const float *other, float *out, uint32_t count)
{
	const fg_vec zero = fg_vec_set(0.0f);
	uint32_t i = 0;

	for (; count - i >= FG_VEC_LANES; i += FG_VEC_LANES)
		fg_vec_store(out + i, fg_vec_add(fg_vec_load(in + i), fg_vec_load(other + i)));
	if (i < count) {
		fg_vec a = fg_vec_load_n(in + i, count - i, zero);
		fg_vec b = fg_vec_load_n(other + i, count - i, zero);

		fg_vec_store_n(out + i, fg_vec_add(a, b), count - i);
	}
}

#endif

void fg_kernel_activation(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		fg_activate(args->in + row * args->in_stride, args->out + row * args->out_stride,
			    args->out_cols, args->activation, args->alpha);
}

void fg_kernel_add(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++) {
		float *out = args->out + row * args->out_stride;

		add_row(args->in + row * args->in_stride, args->other + row * args->other_stride,
			out, args->out_cols);
		if (args->activation != FG_ACTIVATION_NONE)
			fg_activate(out, out, args->out_cols, args->activation, args->alpha);
	}
}
