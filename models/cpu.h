/* cpu.h: which kernels this CPU may run. */
#ifndef FG_MODELS_CPU_H
#define FG_MODELS_CPU_H

#include <stddef.h>
#include "models/kernels.h"

/*
 * The fastest kernels that the CPU can run, or the slower ones that the environment variable
 * FG_ISA names ("c", "avx2", ...). A name that is unknown, or that this CPU cannot run, is ignored:
 * FG_ISA can only ask for less than there is.
 */
const struct fg_kernels *fg_cpu_select(void);

/* Those of ISA number `i`, fastest first, or NULL behind the last. Only ISAs that this CPU can
 * run are numbered; the last is "c". */
const struct fg_kernels *fg_cpu_kernels(size_t i);

#endif
