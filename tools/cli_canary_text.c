#include "tools/cli_canary_text.h"

#include <string.h>
#include "models/error.h"
#include "tools/cli_common.h"
#include "tools/cli_json.h"
#include "tools/cli_table.h"

#define BAR_CELLS 40 /* of all steps together */

static bool is_phase(const json_t *object, const char *phase)
{
	return strcmp(fg_cli_text_of(object, "phase"), phase) == 0;
}

static enum fg_cli_style phase_style(const json_t *object)
{
	if (is_phase(object, "running") || is_phase(object, "done"))
		return FG_CLI_GREEN;
	if (is_phase(object, "broken") || is_phase(object, "failed") || is_phase(object, "aborted"))
		return FG_CLI_RED;
	return is_phase(object, "paused") ? FG_CLI_YELLOW : FG_CLI_CYAN;
}

/* Does it take new flows, or is it about to? */
static bool is_under_way(const json_t *canary)
{
	return is_phase(canary, "starting") || is_phase(canary, "running") ||
	       is_phase(canary, "paused");
}

/* How much of the present step is over, 0 to 1. */
static double step_done(const json_t *canary)
{
	double hold = fg_cli_number_of(canary, "hold_s");
	double done = hold > 0 ? 1 - fg_cli_number_of(canary, "step_left_s") / hold : 1;

	return done < 0 ? 0 : done > 1 ? 1 : done;
}

/* "1% ######## 5% ###..... 25% ........ 100% ........" */
static void print_bar(const json_t *canary, FILE *out)
{
	const json_t *steps = json_object_get(canary, "steps");
	size_t count = json_array_size(steps), at = (size_t)fg_cli_integer_of(canary, "step"), i;
	int cells = count ? BAR_CELLS / (int)count : 0;
	bool started = !is_phase(canary, "starting"), done = is_phase(canary, "done");
	json_t *step;

	fputs(" ", out);
	json_array_foreach((json_t *)steps, i, step)
	{
		bool present = started && !done && i == at;
		int full = done || (started && i < at)
				   ? cells
				   : (present ? (int)(step_done(canary) * cells) : 0);

		fprintf(out, " %s%g%%%s %s", fg_cli_style(present ? FG_CLI_BOLD : FG_CLI_PLAIN),
			json_number_value(step), fg_cli_style(FG_CLI_PLAIN),
			fg_cli_style(phase_style(canary)));
		for (int cell = 0; cell < cells; cell++)
			fputc(cell < full ? '#' : '.', out);
		fputs(fg_cli_style(FG_CLI_PLAIN), out);
	}
	fputc('\n', out);
}

static void add_side(struct fg_cli_table *table, const json_t *seen, long long version,
		     const char *side)
{
	char requests_key[32], errors_key[32], p99_key[32], text[32];
	double requests, errors;

	snprintf(requests_key, sizeof(requests_key), "%s_requests", side);
	snprintf(errors_key, sizeof(errors_key), "%s_errors", side);
	snprintf(p99_key, sizeof(p99_key), "%s_p99_us", side);
	requests = fg_cli_number_of(seen, requests_key);
	errors = fg_cli_number_of(seen, errors_key);
	fg_cli_table_add(table, FG_CLI_PLAIN, "version %lld", version);
	fg_cli_table_add(table, FG_CLI_PLAIN, "%s",
			 fg_cli_count(text, (unsigned long long)requests));
	fg_cli_table_add(table, errors > 0 ? FG_CLI_YELLOW : FG_CLI_PLAIN, "%s",
			 fg_cli_count(text, (unsigned long long)errors));
	fg_cli_table_add(table, FG_CLI_PLAIN, "%.3g%%",
			 requests + errors > 0 ? 100 * errors / (requests + errors) : 0.0);
	if (requests > 0)
		fg_cli_table_add(table, FG_CLI_PLAIN, "%s",
				 fg_cli_duration(text, fg_cli_number_of(seen, p99_key) / 1e6));
	else
		fg_cli_table_add(table, FG_CLI_DIM, "-");
}

static double error_rate(const json_t *seen, const char *requests, const char *errors)
{
	double failed = fg_cli_number_of(seen, errors);
	double all = failed + fg_cli_number_of(seen, requests);

	return all > 0 ? failed / all : 0;
}

/* One guard: what is measured against its bound; not guarded where the bound is 0. */
static void print_guard(FILE *out, const char *name, double value, double bound, double scale,
			const char *unit)
{
	enum fg_cli_style style = value > bound		? FG_CLI_RED
				  : value > bound * 0.8 ? FG_CLI_YELLOW
							: FG_CLI_GREEN;

	if (bound > 0)
		fprintf(out, "  %-10s %s%.3g%s%s, bound %.3g%s\n", name, fg_cli_style(style),
			value * scale, unit, fg_cli_style(FG_CLI_PLAIN), bound * scale, unit);
	else
		fprintf(out, "  %-10s %s%.3g%s, not guarded%s\n", name, fg_cli_style(FG_CLI_DIM),
			value * scale, unit, fg_cli_style(FG_CLI_PLAIN));
}

static long long answers(const json_t *seen, const char *requests, const char *errors)
{
	return fg_cli_integer_of(seen, requests) + fg_cli_integer_of(seen, errors);
}

bool fg_cli_canary_judged(const json_t *canary)
{
	const json_t *guards = json_object_get(canary, "guards");
	const json_t *seen = json_object_get(canary, "seen");
	long long wanted = fg_cli_integer_of(guards, "min_requests");
	bool guarded = fg_cli_number_of(guards, "error_rate") > 0 ||
		       fg_cli_number_of(guards, "p99") > 0 || fg_cli_number_of(guards, "drift") > 0;

	return !guarded || (answers(seen, "canary_requests", "canary_errors") >= wanted &&
			    answers(seen, "stable_requests", "stable_errors") >= wanted);
}

static void print_guards(const json_t *canary, FILE *out)
{
	const json_t *guards = json_object_get(canary, "guards");
	const json_t *seen = json_object_get(canary, "seen");
	double stable_p99 = fg_cli_number_of(seen, "stable_p99_us");
	char text[32];

	print_guard(out, "errors",
		    error_rate(seen, "canary_requests", "canary_errors") -
			    error_rate(seen, "stable_requests", "stable_errors"),
		    fg_cli_number_of(guards, "error_rate"), 100, "% more");
	print_guard(out, "p99",
		    stable_p99 > 0 ? fg_cli_number_of(seen, "canary_p99_us") / stable_p99 : 0,
		    fg_cli_number_of(guards, "p99"), 1, "x");
	print_guard(out, "drift", fg_cli_number_of(seen, "drift"),
		    fg_cli_number_of(guards, "drift"), 1, "");
	if (!fg_cli_canary_judged(canary))
		fprintf(out, "  %sjudged from %s requests on each side on%s\n",
			fg_cli_style(FG_CLI_DIM),
			fg_cli_count(text,
				     (unsigned long long)fg_cli_integer_of(guards, "min_requests")),
			fg_cli_style(FG_CLI_PLAIN));
}

static void print_seen(const json_t *canary, FILE *out)
{
	static const char *const names[] = {"in this window", ">requests", ">errors",
					    ">rate",	      ">p99",	   NULL};
	const json_t *seen = json_object_get(canary, "seen");
	struct fg_cli_table table;

	if (!json_is_object(seen))
		return;
	fg_cli_table_begin(&table, names);
	add_side(&table, seen, fg_cli_integer_of(canary, "from"), "stable");
	add_side(&table, seen, fg_cli_integer_of(canary, "version"), "canary");
	fg_cli_table_print(&table, out);
	print_guards(canary, out);
}

void fg_cli_canary_print(const json_t *canary, FILE *out)
{
	char left[16], hold[16], reason[FG_ERROR_BYTES];

	fprintf(out, "  %s%s %lld%s beside %lld  %s%s%s", fg_cli_style(FG_CLI_BOLD),
		fg_cli_text_of(canary, "model"), fg_cli_integer_of(canary, "version"),
		fg_cli_style(FG_CLI_PLAIN), fg_cli_integer_of(canary, "from"),
		fg_cli_style(phase_style(canary)), fg_cli_text_of(canary, "phase"),
		fg_cli_style(FG_CLI_PLAIN));
	if (is_phase(canary, "running") || is_phase(canary, "paused"))
		fprintf(out, "  step %lld of %zu, %g%% of new flows, %s of %s left",
			fg_cli_integer_of(canary, "step") + 1,
			json_array_size(json_object_get(canary, "steps")),
			fg_cli_number_of(canary, "weight"),
			fg_cli_duration(left, fg_cli_number_of(canary, "step_left_s")),
			fg_cli_duration(hold, fg_cli_number_of(canary, "hold_s")));
	fputc('\n', out);
	if (*fg_cli_printable(reason, sizeof(reason), fg_cli_text_of(canary, "reason")))
		fprintf(out, "  %s%s%s\n", fg_cli_style(phase_style(canary)), reason,
			fg_cli_style(FG_CLI_PLAIN));
	if (!is_under_way(canary))
		return;
	if (*fg_cli_printable(reason, sizeof(reason), fg_cli_text_of(canary, "waiting_for")))
		fprintf(out, "  waiting for %s\n", reason);
	print_bar(canary, out);
	print_seen(canary, out);
}

char *fg_cli_canary_line(const json_t *canary, char *text, size_t room)
{
	const char *model = fg_cli_text_of(canary, "model"),
		   *phase = fg_cli_text_of(canary, "phase");
	long long version = fg_cli_integer_of(canary, "version");
	char hold[16], reason[FG_ERROR_BYTES];

	fg_cli_printable(reason, sizeof(reason), fg_cli_text_of(canary, "reason"));
	if (is_phase(canary, "running"))
		snprintf(text, room, "%s %lld: step %lld of %zu, %g%% of new flows, for %s", model,
			 version, fg_cli_integer_of(canary, "step") + 1,
			 json_array_size(json_object_get(canary, "steps")),
			 fg_cli_number_of(canary, "weight"),
			 fg_cli_duration(hold, fg_cli_number_of(canary, "hold_s")));
	else if (is_phase(canary, "paused"))
		snprintf(text, room, "%s %lld: paused at %g%% of new flows", model, version,
			 fg_cli_number_of(canary, "weight"));
	else
		snprintf(text, room, "%s %lld: %s%s%s", model, version, phase, *reason ? ": " : "",
			 reason);
	return text;
}

void fg_cli_shadow_print(const json_t *shadow, FILE *out)
{
	double rows = fg_cli_number_of(shadow, "rows");
	char count[32], live[16], own[16], reason[FG_ERROR_BYTES];

	fprintf(out, "  %s%s %lld%s  %s%s%s  %.4g%% of requests\n", fg_cli_style(FG_CLI_BOLD),
		fg_cli_text_of(shadow, "model"), fg_cli_integer_of(shadow, "version"),
		fg_cli_style(FG_CLI_PLAIN), fg_cli_style(phase_style(shadow)),
		fg_cli_text_of(shadow, "phase"), fg_cli_style(FG_CLI_PLAIN),
		fg_cli_number_of(shadow, "share") * 100 / FG_CLI_WHOLE);
	if (*fg_cli_printable(reason, sizeof(reason), fg_cli_text_of(shadow, "reason")))
		fprintf(out, "  %s\n", reason);
	if (is_phase(shadow, "ended"))
		return;
	fprintf(out, "  %s rows compared", fg_cli_count(count, (unsigned long long)rows));
	if (rows > 0)
		fprintf(out, ", %.2f%% agree, worst difference %.3g, drift %.3g",
			100 * fg_cli_number_of(shadow, "agreed") / rows,
			fg_cli_number_of(shadow, "worst"), fg_cli_number_of(shadow, "drift"));
	fprintf(out, "\n  a request runs %s, live %s; skipped %lld, errors %lld\n",
		fg_cli_duration(own, fg_cli_number_of(shadow, "own_us") / 1e6),
		fg_cli_duration(live, fg_cli_number_of(shadow, "live_us") / 1e6),
		fg_cli_integer_of(shadow, "skipped"), fg_cli_integer_of(shadow, "errors"));
}
