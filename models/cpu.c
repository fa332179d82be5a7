#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "models/cpu.h"

#ifdef __x86_64__
#include <cpuid.h>

/* The builtin also asks whether the kernel saves the registers. clang 14 has no word for F16C. */
static bool has_avx2(void)
{
	unsigned int eax, ebx, ecx = 0, edx;

	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
	       __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

/* Not without VNNI: such CPUs (Intel, 2017 to 2019) lower their clock for 512 bits, and have AVX2.
 */
static bool has_avx512(void)
{
	return has_avx2() && __builtin_cpu_supports("avx512f") &&
	       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}
#endif

#ifdef __aarch64__
static bool has_neon(void)
{
	return true; /* part of ARMv8-A */
}
#endif

static bool has_c(void)
{
	return true;
}

/* Fastest first. */
static const struct {
	const struct fg_kernels *kernels;
	bool (*usable)(void);
} isas[] = {
#ifdef __x86_64__
	{&fg_kernels_avx512, has_avx512},
	{&fg_kernels_avx2, has_avx2},
#endif
#ifdef __aarch64__
	{&fg_kernels_neon, has_neon},
#endif
	{&fg_kernels_c, has_c},
};

const struct fg_kernels *fg_cpu_kernels(size_t i)
{
	for (size_t at = 0; at < sizeof(isas) / sizeof(isas[0]); at++)
		if (isas[at].usable() && i-- == 0)
			return isas[at].kernels;
	return NULL;
}

const struct fg_kernels *fg_cpu_select(void)
{
	const char *wanted = getenv("FG_ISA");
	const struct fg_kernels *kernels;

	for (size_t i = 0; wanted && (kernels = fg_cpu_kernels(i)); i++)
		if (strcmp(kernels->isa, wanted) == 0)
			return kernels;
	return fg_cpu_kernels(0);
}
