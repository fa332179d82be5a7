#include "userspace/shared/priority.h"

#include <errno.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHORT_SLICE_NS 100000

/* sched_setattr(2), first version; <linux/sched/types.h> cannot stand beside <sched.h>. */
struct sched_attr {
	uint32_t size;
	uint32_t sched_policy;
	uint64_t sched_flags;
	int32_t sched_nice;
	uint32_t sched_priority;
	uint64_t sched_runtime; /* SCHED_OTHER: the wanted slice in ns, 0: the kernel's own */
	uint64_t sched_deadline;
	uint64_t sched_period;
};

static int set_fair(pid_t pid, int nice, uint64_t slice_ns)
{
	struct sched_attr attr = {
		.size = sizeof(attr),
		.sched_policy = SCHED_OTHER,
		.sched_nice = nice,
		.sched_runtime = slice_ns,
	};

	return syscall(SYS_sched_setattr, pid, &attr, 0) ? -errno : 0;
}

void fg_priority_background(void)
{
	set_fair(0, 10, SHORT_SLICE_NS);
}

void fg_priority_last(pid_t pid)
{
	set_fair(pid, 19, SHORT_SLICE_NS);
}

/* A guest's short slices stay. */
void fg_priority_idle(void)
{
	const struct sched_attr attr = {.size = sizeof(attr), .sched_policy = SCHED_IDLE};

	syscall(SYS_sched_setattr, 0, &attr, 0);
}

void fg_priority_normal(void)
{
	set_fair(0, 0, 0);
}

void fg_priority_urgent(pid_t pid, bool urgent)
{
	struct sched_param param = {.sched_priority = 1};

	if (!urgent)
		set_fair(pid, 0, 0);
	else if (sched_setscheduler(pid, SCHED_FIFO, &param))
		set_fair(pid, -10, SHORT_SLICE_NS);
}

void fg_priority_avoid_cpus(const int *cpus, uint32_t count)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return;
	for (uint32_t i = 0; i < count; i++)
		CPU_CLR(cpus[i], &set);
	if (CPU_COUNT(&set))
		sched_setaffinity(0, sizeof(set), &set);
}

int fg_priority_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}
