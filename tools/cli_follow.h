/* cli_follow.h: watches a canary until it is over. */
#ifndef FG_TOOLS_CLI_FOLLOW_H
#define FG_TOOLS_CLI_FOLLOW_H

#include <jansson.h>
#include "models/error.h"
#include "tools/cli_order.h"

/*
 * Asks for status every 200 ms and shows the canary of this version: redrawn on a terminal, else a
 * line for each step (JSON: the canary's object). A control process that is being restarted is
 * waited for. Returns an exit code when it is over, FG_CLI_TIMEOUT after `follow_ms` (0: never) or
 * an interrupt; neither ends the canary, and stderr says how to.
 */
int fg_cli_follow(const struct fg_cli_order *order, const char *model, json_int_t version,
		  uint64_t follow_ms);

/*
 * What a reply to status says of the canary: -1 while it goes on, else the exit code, with `end`
 * saying in a line what became of it. It is over as well when its last step is below 100 %, lasted
 * as long as it should and was judged.
 */
int fg_cli_follow_end(const json_t *status, const char *model, json_int_t version,
		      struct fg_error *end);

#endif
