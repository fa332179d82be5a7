/* cli_publish_wait.h: what becomes of a version that was published, as status tells it. */
#ifndef FG_TOOLS_CLI_PUBLISH_WAIT_H
#define FG_TOOLS_CLI_PUBLISH_WAIT_H

#include <jansson.h>
#include <stdint.h>
#include "models/error.h"
#include "tools/cli_publish_copy.h"

enum fg_publish_state {
	FG_PUBLISH_ON_ITS_WAY, /* not seen yet, being packed, started, ... */
	FG_PUBLISH_UNWANTED,   /* seen, and something else is to serve; *why says what */
	FG_PUBLISH_FAILED,     /* *why: the gateway's own words */
	FG_PUBLISH_LIVE,
};

/* Of one version in a reply to status. */
enum fg_publish_state fg_publish_state(const json_t *status, const char *model, uint64_t version,
				       struct fg_error *why);

/* The number of the live generation in a reply to status; 0: there is none. */
long long fg_publish_generation(const json_t *status);

/*
 * Waits until all of them are live. An exit code; with FG_CLI_OK *generation serves them. Else
 * *error says why: FG_CLI_REFUSED, one failed or is not wanted; FG_CLI_TIMEOUT, also when *stop
 * became other than 0; FG_CLI_UNREACHABLE.
 */
int fg_publish_wait(const struct fg_publish *list, unsigned count, const char *socket,
		    uint64_t wait_ms, const volatile sig_atomic_t *stop, long long *generation,
		    struct fg_error *error);

#endif
