#include "userspace/worker/turn.h"

#include <time.h>
#include "userspace/shared/clock.h"

/* Off the CPU that long, somebody else has had it: more than what reading two clocks one after the
 * other makes them differ, about what it takes to switch there and back. */
#define SLEPT_NS 5000

/* What this thread has spent on a CPU. */
static uint64_t run_ns(void)
{
	struct timespec run;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &run);
	return (uint64_t)run.tv_sec * 1000000000ull + run.tv_nsec;
}

void fg_turn_wait(struct fg_turn *turn, bool urgent, struct fg_uring *uring, uint64_t timeout_ns)
{
	uint64_t ran_ns = urgent ? run_ns() : 0, since_ns = fg_clock_ns(), now_ns;

	fg_uring_wait(uring, timeout_ns);
	now_ns = fg_clock_ns();
	if (urgent && now_ns - since_ns > run_ns() - ran_ns + SLEPT_NS)
		turn->began_ns = now_ns;
}

void fg_turn_give_way(struct fg_turn *turn, bool urgent)
{
	uint64_t now_ns, ran_ns;
	struct timespec gap;

	if (!urgent) {
		turn->began_ns = 0;
		return;
	}
	now_ns = fg_clock_ns();
	if (!turn->began_ns)
		turn->began_ns = now_ns;
	ran_ns = now_ns - turn->began_ns;
	if (ran_ns < FG_TURN_RUN_NS)
		return;
	gap = (struct timespec){.tv_nsec = ran_ns < FG_TURN_MOST_NS ? ran_ns : FG_TURN_MOST_NS};
	nanosleep(&gap, NULL);
	turn->began_ns = fg_clock_ns();
}
