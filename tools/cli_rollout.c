/* flipgate rollout: a new version by steps, with guards, and what becomes of it. */
#include "tools/cli_rollout.h"

#include <string.h>
#include "tools/cli_follow.h"
#include "tools/cli_json.h"
#include "tools/cli_order.h"

#define HOLD_MS	      30000
#define WINDOW_MS     10000
#define DAY_MS	      86400000ull
#define FIRST_WAIT_MS 500 /* who follows sees by status that it starts */

static const char help[] =
	"Usage: flipgate rollout MODEL VERSION [OPTION]...\n"
	"\n"
	"A canary: VERSION gets a few of the new flows, then more, then all. A flow, or an "
	"affinity\n"
	"key, that is in stays in from step to step. Guards compare both versions' answers; the\n"
	"first one that breaks its bound ends the canary, and all new flows go to the version\n"
	"before. Follows until the end, with a live picture on a terminal, else a line for each\n"
	"step. An interrupt ends only the following: flipgate abort ends the canary.\n"
	"\n"
	"  --steps LIST          default 1%,5%,25%,100%. One that ends below 100% stays there\n"
	"  --hold TIME           each step lasts that long, and until the guards could judge it;\n"
	"                        default 30s\n"
	"  --window TIME         how much the guards look at, then anew; default 10s, at most a "
	"step\n"
	"  --max-error-rate P%   so much more errors than the version before; default 1%\n"
	"  --max-p99 Nx          p99 at most N times that of the version before; default 2x\n"
	"  --max-drift X         of outputs, as population stability index; default 0.25. A\n"
	"                        classifier that was trained anew often drifts more, without "
	"being\n"
	"                        worse: --max-drift off\n"
	"  --min-requests N      of each side in a window, before guards judge; default 200\n"
	"                        'off' instead of a bound: not guarded\n"
	"  --wait TIME           follow no longer than that (exit code 4); default: to the end\n"
	"  --no-wait             return when the first step is live\n" FG_CLI_ORDER_HELP "\n"
	"Exits with 0 when VERSION serves all new flows (or stays at the last step), 6 when it "
	"was\n"
	"rolled back, 2 when it failed, 4 when it is not over yet. --output json: one line for "
	"each\n"
	"step, the last one tells the end.\n"
	"\n"
	"Examples:\n"
	"  flipgate rollout digits 3\n"
	"  flipgate rollout digits 3 --steps 1%,10%,100% --hold 5m --max-p99 1.3x --why 'release "
	"41'\n"
	"  flipgate rollout digits 3 --steps 5% --no-wait && flipgate status --watch\n";

struct fg_cli_rollout fg_cli_rollout(void)
{
	return (struct fg_cli_rollout){
		.step_count = 4,
		.steps = {100, 500, 2500, FG_CLI_WHOLE},
		.hold_ms = HOLD_MS,
		.error_rate = 0.01,
		.p99 = 2,
		.drift = 0.25,
		.min_requests = 200,
	};
}

int fg_cli_rollout_steps(const struct fg_cli_verb *verb, const char *text,
			 struct fg_cli_rollout *rollout)
{
	char step[32];
	size_t length;

	rollout->step_count = 0;
	for (;; text += length + 1) {
		uint32_t count = rollout->step_count, *steps = rollout->steps;

		length = strcspn(text, ",");
		if (count == FG_CLI_ROLLOUT_MAX_STEPS)
			return fg_cli_usage(verb, "--steps: at most %d", FG_CLI_ROLLOUT_MAX_STEPS);
		snprintf(step, sizeof(step), "%.*s", (int)length, text);
		if (fg_cli_share(verb, "--steps", step, &steps[count]))
			return FG_CLI_USAGE;
		if (count && steps[count] <= steps[count - 1])
			return fg_cli_usage(verb, "--steps: %s is not above the step before it",
					    step);
		rollout->step_count++;
		if (!text[length])
			return 0;
	}
}

int fg_cli_rollout_error_rate(const struct fg_cli_verb *verb, const char *text,
			      struct fg_cli_rollout *rollout)
{
	double percent = 0;

	if (strcmp(text, "off") != 0 &&
	    !(fg_cli_decimal(text, "%", &percent) && percent > 0 && percent <= 100))
		return fg_cli_usage(verb,
				    "--max-error-rate %s: want percents above 0%%, such as "
				    "0.1%%, or off",
				    text);
	rollout->error_rate = percent / 100;
	return 0;
}

int fg_cli_rollout_p99(const struct fg_cli_verb *verb, const char *text,
		       struct fg_cli_rollout *rollout)
{
	rollout->p99 = 0;
	if (strcmp(text, "off") != 0 &&
	    !(fg_cli_decimal(text, "x", &rollout->p99) && rollout->p99 > 1 && rollout->p99 <= 1000))
		return fg_cli_usage(verb,
				    "--max-p99 %s: want a factor above 1x, such as 1.5x, or off",
				    text);
	return 0;
}

int fg_cli_rollout_drift(const struct fg_cli_verb *verb, const char *text,
			 struct fg_cli_rollout *rollout)
{
	rollout->drift = 0;
	if (strcmp(text, "off") != 0 && !(fg_cli_decimal(text, "", &rollout->drift) &&
					  rollout->drift > 0 && rollout->drift <= 100))
		return fg_cli_usage(verb,
				    "--max-drift %s: want a number above 0, such as 0.25, or off",
				    text);
	return 0;
}

int fg_cli_rollout_finish(const struct fg_cli_verb *verb, struct fg_cli_rollout *rollout)
{
	char window[16], hold[16];

	if (rollout->window_ms > rollout->hold_ms)
		return fg_cli_usage(verb,
				    "--window %s is longer than --hold %s: no step would be judged",
				    fg_cli_duration(window, (double)rollout->window_ms / 1e3),
				    fg_cli_duration(hold, (double)rollout->hold_ms / 1e3));
	if (!rollout->window_ms)
		rollout->window_ms = rollout->hold_ms < WINDOW_MS ? rollout->hold_ms : WINDOW_MS;
	return 0;
}

json_t *fg_cli_rollout_request(const struct fg_cli_rollout *rollout, const char *model,
			       json_int_t version)
{
	json_t *steps = json_array();

	for (uint32_t i = 0; i < rollout->step_count; i++)
		json_array_append_new(steps, json_integer(rollout->steps[i]));
	return json_pack("{s:s, s:s, s:I, s:o, s:I, s:I, s:{s:f, s:f, s:f, s:I}}", "verb",
			 "rollout", "model", model, "version", version, "steps", steps, "hold_ms",
			 (json_int_t)rollout->hold_ms, "window_ms", (json_int_t)rollout->window_ms,
			 "guards", "error_rate", rollout->error_rate, "p99", rollout->p99, "drift",
			 rollout->drift, "min_requests", (json_int_t)rollout->min_requests);
}

struct command {
	struct fg_cli_order order;
	struct fg_cli_rollout rollout;
	uint64_t follow_ms; /* 0: to the end */
	bool follow;
};

static int wait_option(struct command *command, const char *value)
{
	if (fg_cli_time(command->order.verb, "--wait", value, 1, 30 * DAY_MS, &command->follow_ms))
		return FG_CLI_USAGE;
	command->order.wait_ms =
		command->follow_ms < FG_CLI_MAX_WAIT_MS ? command->follow_ms : FG_CLI_MAX_WAIT_MS;
	return 0;
}

/* 0, FG_CLI_USAGE, or -1 for what is not an option of this verb alone. */
static int own_option(struct command *command, int option, const char *value)
{
	const struct fg_cli_verb *verb = command->order.verb;
	struct fg_cli_rollout *rollout = &command->rollout;

	switch (option) {
	case 'S':
		return fg_cli_rollout_steps(verb, value, rollout);
	case 'H':
		return fg_cli_time(verb, "--hold", value, 100, DAY_MS, &rollout->hold_ms);
	case 'W':
		return fg_cli_time(verb, "--window", value, 100, DAY_MS, &rollout->window_ms);
	case 'E':
		return fg_cli_rollout_error_rate(verb, value, rollout);
	case 'P':
		return fg_cli_rollout_p99(verb, value, rollout);
	case 'D':
		return fg_cli_rollout_drift(verb, value, rollout);
	case 'M':
		return fg_cli_u64(verb, "--min-requests", value, 1, UINT32_MAX,
				  &rollout->min_requests);
	case 'w':
		return wait_option(command, value);
	case 'n':
		command->follow = false;
		return 0;
	default:
		return -1;
	}
}

/* -1 when the verb goes on, with optind at the first operand, else an exit code. */
static int parse(int argc, char **argv, struct command *command)
{
	static const struct option options[] = {
		{"steps", required_argument, NULL, 'S'},
		{"hold", required_argument, NULL, 'H'},
		{"window", required_argument, NULL, 'W'},
		{"max-error-rate", required_argument, NULL, 'E'},
		{"max-p99", required_argument, NULL, 'P'},
		{"max-drift", required_argument, NULL, 'D'},
		{"min-requests", required_argument, NULL, 'M'},
		FG_CLI_ORDER_OPTIONS,
	};
	int option, code;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		code = own_option(command, option, optarg);
		if (code > 0)
			return code;
		if (code < 0) {
			code = fg_cli_order_option(&command->order, option, optarg);
			if (code >= 0)
				return code;
		}
	}
	if (argc - optind != 2)
		return fg_cli_usage(command->order.verb, "want MODEL and VERSION");
	return fg_cli_rollout_finish(command->order.verb, &command->rollout) ? FG_CLI_USAGE : -1;
}

static void print_first(const json_t *reply)
{
	printf("%s%s version %lld%s gets %g%% of new flows, generation %lld\n",
	       fg_cli_style(FG_CLI_BOLD), fg_cli_text_of(reply, "model"),
	       fg_cli_integer_of(reply, "version"), fg_cli_style(FG_CLI_PLAIN),
	       fg_cli_number_of(reply, "weight"), fg_cli_integer_of(reply, "generation"));
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct command command = {.order = fg_cli_order(verb),
				  .rollout = fg_cli_rollout(),
				  .follow = true};
	const char *model;
	json_int_t version;
	json_t *request, *reply;
	int code = parse(argc, argv, &command);

	if (code >= 0)
		return code;
	model = argv[optind];
	if (fg_cli_order_version(&command.order, argv[optind + 1], &version))
		return FG_CLI_USAGE;
	request = fg_cli_rollout_request(&command.rollout, model, version);
	if (!command.follow)
		return fg_cli_order_run(&command.order, request, print_first);
	command.order.wait_ms = FIRST_WAIT_MS;
	command.order.may_pend = true;
	code = fg_cli_order_ask(&command.order, request, &reply);
	if (code)
		return code;
	json_decref(reply);
	return fg_cli_follow(&command.order, model, version, command.follow_ms);
}

const struct fg_cli_verb fg_cli_rollout_verb = {
	.name = "rollout",
	.summary = "a version by steps, with guards that roll it back",
	.help = help,
	.run = run,
};
