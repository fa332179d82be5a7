/* clock.h: the one clock of all processes. */
#ifndef FG_SHARED_CLOCK_H
#define FG_SHARED_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in ns; about 20 ns by the vDSO, no syscall. */
static inline uint64_t fg_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + now.tv_nsec;
}

#endif
