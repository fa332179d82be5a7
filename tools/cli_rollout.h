/* cli_rollout.h: what `flipgate rollout` is told on its command line. */
#ifndef FG_TOOLS_CLI_ROLLOUT_H
#define FG_TOOLS_CLI_ROLLOUT_H

#include <jansson.h>
#include <stdint.h>
#include "tools/cli_common.h"

#define FG_CLI_ROLLOUT_MAX_STEPS 16

struct fg_cli_rollout {
	uint32_t step_count;
	uint32_t steps[FG_CLI_ROLLOUT_MAX_STEPS]; /* upward, parts of FG_CLI_WHOLE */
	uint64_t hold_ms;			  /* of each step */
	uint64_t window_ms;			  /* that the guards look at; 0: not said */
	/* Guards, 0: off. As a share; as a factor; as a population stability index. */
	double error_rate, p99, drift;
	uint64_t min_requests; /* of each side, before guards judge */
};

/* The defaults that the help tells. */
struct fg_cli_rollout fg_cli_rollout(void);

/*
 * Readers of the options. 0, or FG_CLI_USAGE with a message.
 * steps: "1%,5%,25%,100%", 1 to 16, each above the one before; what does not end at 100% stays at
 * its last step. The guards: "0.1%", "1.5x", "0.25", or "off".
 */
int fg_cli_rollout_steps(const struct fg_cli_verb *verb, const char *text,
			 struct fg_cli_rollout *rollout);
int fg_cli_rollout_error_rate(const struct fg_cli_verb *verb, const char *text,
			      struct fg_cli_rollout *rollout);
int fg_cli_rollout_p99(const struct fg_cli_verb *verb, const char *text,
		       struct fg_cli_rollout *rollout);
int fg_cli_rollout_drift(const struct fg_cli_verb *verb, const char *text,
			 struct fg_cli_rollout *rollout);

/* What fits together: a window is at most as long as a step; one that was not said becomes that of
 * the help, or the step. */
int fg_cli_rollout_finish(const struct fg_cli_verb *verb, struct fg_cli_rollout *rollout);

/* The request to the control socket. */
json_t *fg_cli_rollout_request(const struct fg_cli_rollout *rollout, const char *model,
			       json_int_t version);

#endif
