#include "tools/client_wait.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#define SECOND_NS 1000000000ull

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / SECOND_NS),
				 .tv_nsec = (long)(ns % SECOND_NS)};
}

uint64_t fg_client_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

int fg_client_wait(int fd, short events, uint64_t until_ns, bool spin)
{
	struct pollfd poll = {.fd = fd, .events = events};
	uint64_t now = fg_client_now_ns();
	struct timespec timeout;

	if (now >= until_ns)
		return -ETIMEDOUT;
	if (spin)
		return 0;
	timeout = timespec_of(until_ns - now);
	if (ppoll(&poll, 1, &timeout, NULL) < 0 && errno != EINTR)
		return -errno;
	return 0;
}

void fg_client_sleep_until(uint64_t until_ns)
{
	struct timespec until = timespec_of(until_ns);

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}
