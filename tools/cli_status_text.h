/* cli_status_text.h: the reply to the verb "status", for people. */
#ifndef FG_TOOLS_CLI_STATUS_TEXT_H
#define FG_TOOLS_CLI_STATUS_TEXT_H

#include <jansson.h>
#include <stdio.h>

/*
 * Prints `reply`. What it lacks is left out, so that a newer or older service can be shown.
 * `before` is the reply of `apart_s` seconds ago, for rates; NULL: no rates.
 */
void fg_cli_status_print(const json_t *reply, const json_t *before, double apart_s, FILE *out);

#endif
