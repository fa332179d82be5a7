#include "tools/cli_follow.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tools/cli_canary_text.h"
#include "tools/cli_json.h"

#define EVERY_MS    200
#define TIMEOUT_MS  2000
#define PATIENCE_MS 10000 /* without an answer: control may be on its way back */

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

/* ---- is it over? ---- */

static bool is_ours(const json_t *canary, const char *model, json_int_t version)
{
	return json_is_object(canary) && fg_cli_integer_of(canary, "version") == version &&
	       strcmp(fg_cli_text_of(canary, "model"), model) == 0;
}

/* Its steps end below 100 %, the last one has lasted as long as it should, and was judged. */
static bool stays(const json_t *canary)
{
	const json_t *steps = json_object_get(canary, "steps");
	size_t count = json_array_size(steps);
	double last = count ? json_number_value(json_array_get(steps, count - 1)) : 100;

	return last < 100 && (size_t)fg_cli_integer_of(canary, "step") + 1 == count &&
	       fg_cli_number_of(canary, "step_left_s") <= 0 && fg_cli_canary_judged(canary);
}

/* Another canary stands there now, or none: what counts is which version serves. */
static int end_of_other(const json_t *status, const char *model, json_int_t version,
			struct fg_error *end)
{
	const json_t *found = fg_cli_find(json_object_get(status, "models"), "model", model);

	if (fg_cli_integer_of(found, "live") == version)
		return fg_error_set(end, FG_CLI_OK, "%s version %lld serves all new flows", model,
				    (long long)version);
	return fg_error_set(end, FG_CLI_REFUSED,
			    "the canary of %s version %lld is not there any more, version %lld "
			    "serves: flipgate history tells why",
			    model, (long long)version, fg_cli_integer_of(found, "live"));
}

int fg_cli_follow_end(const json_t *status, const char *model, json_int_t version,
		      struct fg_error *end)
{
	const json_t *canary = json_object_get(status, "canary");
	const char *phase = fg_cli_text_of(canary, "phase");
	const char *reason = fg_cli_text_of(canary, "reason");

	if (!is_ours(canary, model, version))
		return end_of_other(status, model, version, end);
	if (strcmp(phase, "done") == 0)
		return fg_error_set(end, FG_CLI_OK, "%s version %lld serves all new flows", model,
				    (long long)version);
	if (strcmp(phase, "aborted") == 0 || strcmp(phase, "broken") == 0)
		return fg_error_set(end, FG_CLI_ROLLED_BACK,
				    "%s is rolled back to version %lld: %s", model,
				    fg_cli_integer_of(canary, "from"), *reason ? reason : phase);
	if (strcmp(phase, "failed") == 0)
		return fg_error_set(end, FG_CLI_REFUSED,
				    "%s version %lld failed, version %lld serves: %s", model,
				    (long long)version, fg_cli_integer_of(canary, "from"), reason);
	if (strcmp(phase, "running") == 0 && stays(canary))
		return fg_error_set(end, FG_CLI_OK,
				    "%s version %lld stays at %g%% of new flows, guarded; flipgate "
				    "promote or abort ends that",
				    model, (long long)version, fg_cli_number_of(canary, "weight"));
	return -1;
}

/* ---- showing ---- */

struct picture {
	bool json, live;
	int lines;	 /* of the block that stands on the terminal */
	char shown[320]; /* the line that was printed last */
};

/* Draws over the block before. Lines that are too long are cut (no wrap), or the count of lines to
 * go up would be wrong. */
static void draw(struct picture *picture, const json_t *canary)
{
	char *text = NULL, *line, *newline;
	size_t length = 0;
	FILE *memory = open_memstream(&text, &length);

	if (!memory)
		return;
	fg_cli_canary_print(canary, memory);
	fclose(memory);
	if (picture->lines)
		printf("\033[%dA", picture->lines);
	fputs("\033[?7l", stdout);
	picture->lines = 0;
	for (line = text; (newline = strchr(line, '\n')); line = newline + 1) {
		printf("%.*s\033[K\n", (int)(newline - line), line);
		picture->lines++;
	}
	fputs("\033[J\033[?7h", stdout);
	free(text);
}

static void show(struct picture *picture, const json_t *canary)
{
	char line[sizeof(picture->shown)];

	if (picture->live) {
		draw(picture, canary);
	} else if (strcmp(fg_cli_canary_line(canary, line, sizeof(line)), picture->shown) != 0) {
		strcpy(picture->shown, line);
		if (picture->json)
			fg_cli_control_print(canary);
		else
			puts(line);
	}
	fflush(stdout);
}

/* ---- following ---- */

static int finish(const struct picture *picture, int code, const struct fg_error *end)
{
	if (code)
		return fg_cli_fail((enum fg_cli_exit)code, "%s", end->text);
	if (!picture->json)
		printf("%s%s%s\n", fg_cli_style(FG_CLI_GREEN), end->text,
		       fg_cli_style(FG_CLI_PLAIN));
	return FG_CLI_OK;
}

static int leave(const char *model, json_int_t version, const char *why)
{
	return fg_cli_fail(FG_CLI_TIMEOUT,
			   "%s: the canary of %s version %lld goes on; flipgate status --watch "
			   "shows it, flipgate abort %s ends it",
			   why, model, (long long)version, model);
}

static int follow(const struct fg_cli_order *order, const char *model, json_int_t version,
		  int64_t until_ms)
{
	struct picture picture = {.json = order->output.json,
				  .live = !order->output.json && fg_cli_is_tty(stdout)};
	const struct timespec pause = {.tv_nsec = EVERY_MS * 1000000};
	int64_t answered_ms = fg_cli_now_ms();
	struct fg_error end;

	while (!interrupted && (until_ms == 0 || fg_cli_now_ms() < until_ms)) {
		json_t *status;
		int code = fg_cli_control_try(order->socket, json_pack("{s:s}", "verb", "status"),
					      TIMEOUT_MS, &status, &end);

		if (!code && !fg_cli_control_code(status)) {
			const json_t *canary = json_object_get(status, "canary");

			answered_ms = fg_cli_now_ms();
			code = fg_cli_follow_end(status, model, version, &end);
			if (is_ours(canary, model, version))
				show(&picture, canary);
			json_decref(status);
			if (code >= 0)
				return finish(&picture, code, &end);
		} else {
			json_decref(status);
			if (code && fg_cli_now_ms() > answered_ms + PATIENCE_MS)
				return finish(&picture, code, &end);
		}
		nanosleep(&pause, NULL);
	}
	return leave(model, version, interrupted ? "interrupted" : "not over yet");
}

int fg_cli_follow(const struct fg_cli_order *order, const char *model, json_int_t version,
		  uint64_t follow_ms)
{
	struct sigaction action = {.sa_handler = interrupt}, before[2];
	int code;

	interrupted = 0;
	sigaction(SIGINT, &action, &before[0]);
	sigaction(SIGTERM, &action, &before[1]);
	code = follow(order, model, version, follow_ms ? fg_cli_now_ms() + (int64_t)follow_ms : 0);
	sigaction(SIGINT, &before[0], NULL);
	sigaction(SIGTERM, &before[1], NULL);
	return code;
}
