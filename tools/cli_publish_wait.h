/* cli_publish_wait.h: what becomes of a version that was published, as status tells it. */
#ifndef FG_TOOLS_CLI_PUBLISH_WAIT_H
#define FG_TOOLS_CLI_PUBLISH_WAIT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "models/error.h"
#include "tools/cli_publish_copy.h"

enum fg_publish_state {
	FG_PUBLISH_UNSEEN,     /* the gateway has not seen all of it yet */
	FG_PUBLISH_ON_ITS_WAY, /* being packed, started, ... */
	FG_PUBLISH_READY,      /* seen, and something else is to serve: *why says what. May be
				* promoted */
	FG_PUBLISH_EXCLUDED,   /* the policy names other versions: *why */
	FG_PUBLISH_FAILED,     /* *why: the gateway's own words */
	FG_PUBLISH_LIVE,
};

/* Of one version in a reply to status. */
enum fg_publish_state fg_publish_state(const json_t *status, const char *model, uint64_t version,
				       struct fg_error *why);

/* The number of the live generation in a reply to status; 0: there is none. */
long long fg_publish_generation(const json_t *status);

struct fg_publish_outcome {
	long long generation;  /* the live one; 0: none */
	bool live;	       /* all are; else at least one is READY */
	struct fg_error ready; /* why not, of the first that is not live */
};

/*
 * Waits until each of them is live, or READY where the policy or somebody's choice keeps to another
 * version. An exit code; with FG_CLI_OK *outcome says what came of it. Else *error says why:
 * FG_CLI_REFUSED, one failed, or is EXCLUDED; FG_CLI_TIMEOUT, also when *stop became other than 0;
 * FG_CLI_UNREACHABLE.
 */
int fg_publish_wait(const struct fg_publish *list, unsigned count, const char *socket,
		    uint64_t wait_ms, const volatile sig_atomic_t *stop,
		    struct fg_publish_outcome *outcome, struct fg_error *error);

/* Waits until the gateway has seen all of each, so that the next command can name it; whatever it
 * does with it. An exit code as above, never FG_CLI_REFUSED. */
int fg_publish_seen(const struct fg_publish *list, unsigned count, const char *socket,
		    const volatile sig_atomic_t *stop, struct fg_error *error);

#endif
