/* The table of one ISA's kernels. */
#include "models/kernel_isa.h"

const struct fg_kernels FG_ISA_NAME(fg_kernels) = {
	.isa = FG_ISA_STRING(FG_ISA),
	.run =
		{
#define FG_KERNEL_ENTRY(kind, label) [FG_STEP_##kind] = FG_KERNEL(kind),
			FG_STEP_KINDS(FG_KERNEL_ENTRY)
#undef FG_KERNEL_ENTRY
		},
};
