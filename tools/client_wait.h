/* client_wait.h: the clock of libflipgate, and how it waits. Times are CLOCK_MONOTONIC. */
#ifndef FG_TOOLS_CLIENT_WAIT_H
#define FG_TOOLS_CLIENT_WAIT_H

#include <stdbool.h>
#include <stdint.h>

uint64_t fg_client_now_ns(void);

/*
 * Waits until `fd` may be ready for `events` (poll(2)): sleeps, or, to spin, returns at once. 0,
 * also when it is not ready after all (try, and wait again); -ETIMEDOUT from `until_ns` on; or the
 * -errno of poll.
 */
int fg_client_wait(int fd, short events, uint64_t until_ns, bool spin);

void fg_client_sleep_until(uint64_t until_ns);

#endif
