/*
 * priority.h: who gets the CPU when a worker, its successor and a packer want the same one.
 *
 * All calls are best effort: where the kernel or a cgroup refuses, service goes on with a little
 * more jitter. Kernel: sched_setattr(2); a SCHED_OTHER slice (sched_runtime) is honoured from 6.12.
 */
#ifndef FG_SHARED_PRIORITY_H
#define FG_SHARED_PRIORITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The caller becomes a guest: nice 10, and slices of 100 us, so that a worker which polls on the
 * same CPU is never kept waiting for the 3 ms of a whole slice. For packers and starting workers.
 */
void fg_priority_background(void);

/* A guest that runs long: nice 19, so that other guests come first. */
void fg_priority_last(pid_t pid);

/* The caller, a guest before, runs only where and while nobody else wants to: SCHED_IDLE. For good.
 * For shadows. */
void fg_priority_idle(void);

/* Back to nice 0 with the kernel's own slice. Needs CAP_SYS_NICE. */
void fg_priority_normal(void);

/*
 * A draining worker sleeps between requests on a CPU that its successor polls. `urgent` makes its
 * wake-up preempt at once (SCHED_FIFO, else nice -10 and 100 us slices); it runs only while it has
 * a request, so it takes nothing else from its successor. Needs CAP_SYS_NICE.
 */
void fg_priority_urgent(pid_t pid, bool urgent);

/* The caller may run on all CPUs but the `count` at `cpus`; on all when none would be left. */
void fg_priority_avoid_cpus(const int *cpus, uint32_t count);
/* The caller runs on that CPU alone. -errno when there is no such CPU. */
int fg_priority_pin(int cpu);

#endif
