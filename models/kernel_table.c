/* The table of one ISA's kernels. */
#include "models/kernel_isa.h"

const struct fg_kernels FG_ISA_NAME(fg_kernels) = {
	.isa = FG_ISA_STRING(FG_ISA),
	.run =
		{
			[FG_STEP_DENSE] = fg_kernel_dense,
			[FG_STEP_ADD] = fg_kernel_add,
			[FG_STEP_ACTIVATION] = fg_kernel_activation,
			[FG_STEP_SOFTMAX] = fg_kernel_softmax,
		},
};
