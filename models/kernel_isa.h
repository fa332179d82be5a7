/* kernel_isa.h: names of the functions that kernel_*.c export, once per ISA. Only for them. */
#ifndef FG_MODELS_KERNEL_ISA_H
#define FG_MODELS_KERNEL_ISA_H

#include "models/kernels.h"

#define FG_ISA_JOIN_(name, isa) name##_##isa
#define FG_ISA_JOIN(name, isa)	FG_ISA_JOIN_(name, isa)
#define FG_ISA_NAME(name)	FG_ISA_JOIN(name, FG_ISA) /* fg_activate -> fg_activate_avx2 */
#define FG_ISA_STRING_(isa)	#isa
#define FG_ISA_STRING(isa)	FG_ISA_STRING_(isa)

/* The kernel of a step kind: FG_KERNEL(ADD) -> fg_kernel_ADD_avx2. */
#define FG_KERNEL(kind)			 FG_ISA_NAME(fg_kernel_##kind)

#define FG_KERNEL_PROTOTYPE(kind, label) void FG_KERNEL(kind)(const struct fg_kernel_args *args);
FG_STEP_KINDS(FG_KERNEL_PROTOTYPE)
#undef FG_KERNEL_PROTOTYPE

#define fg_activate FG_ISA_NAME(fg_activate)

/* out (count) = activation(in (count)); in == out is fine, any other overlap is not. */
void fg_activate(const float *in, float *out, uint32_t count, enum fg_activation activation,
		 float alpha, float beta);

/* The same of one number, in double; the C reference for every ISA, so that it gives the same bits.
 */
double fg_activate_f64(double x, enum fg_activation activation, double alpha, double beta);

/* Rows may have any alignment, so plain C reads and writes them with memcpy. */
static inline float fg_get(const float *at, size_t i)
{
	float value;

	__builtin_memcpy(&value, (const char *)at + i * sizeof(value), sizeof(value));
	return value;
}

static inline void fg_put(float *at, size_t i, float value)
{
	__builtin_memcpy((char *)at + i * sizeof(value), &value, sizeof(value));
}

#endif
