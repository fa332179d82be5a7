/* cli_canary_text.h: a canary and a shadow, as status reports them, for people. */
#ifndef FG_TOOLS_CLI_CANARY_TEXT_H
#define FG_TOOLS_CLI_CANARY_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/*
 * The block: which version beside which, its steps as a bar, what both sides answered in the
 * present window, and how near the guards are to their bounds. Lines are indented by two blanks.
 */
void fg_cli_canary_print(const json_t *canary, FILE *out);

/* In one line, without newline: "digits 3: step 2 of 4, 5% of new flows, for 30 s". Returns text.
 */
char *fg_cli_canary_line(const json_t *canary, char *text, size_t room);

/* Did both sides answer enough in the present window for the guards to judge? A step goes on until
 * they did, however long that takes. True where nothing is guarded. */
bool fg_cli_canary_judged(const json_t *canary);

/* Agreement, drift and run times of a shadow. */
void fg_cli_shadow_print(const json_t *shadow, FILE *out);

#endif
