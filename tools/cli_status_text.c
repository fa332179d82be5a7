#include "tools/cli_status_text.h"

#include <string.h>
#include "models/error.h"
#include "tools/cli_canary_text.h"
#include "tools/cli_json.h"
#include "tools/cli_table.h"

/* "0 1 2" of an array of numbers, "a b" of one of strings. */
static void join(const json_t *array, char *text, size_t room)
{
	size_t i, length = 0;
	json_t *value;

	*text = 0;
	json_array_foreach((json_t *)array, i, value)
	{
		const char *string = json_string_value(value);
		int wrote = string ? snprintf(text + length, room - length, "%s%s", i ? " " : "",
					      string)
				   : snprintf(text + length, room - length, "%s%lld", i ? " " : "",
					      (long long)json_integer_value(value));

		if (wrote < 0 || (size_t)wrote >= room - length)
			return;
		length += (size_t)wrote;
	}
}

static enum fg_cli_style style_of(const char *phase)
{
	static const struct {
		const char *phase;
		enum fg_cli_style style;
	} styles[] = {
		{"live", FG_CLI_GREEN},	     {"ready", FG_CLI_GREEN},	  {"serve", FG_CLI_GREEN},
		{"failed", FG_CLI_RED},	     {"starting", FG_CLI_CYAN},	  {"packing", FG_CLI_CYAN},
		{"wait", FG_CLI_CYAN},	     {"draining", FG_CLI_YELLOW}, {"drain", FG_CLI_YELLOW},
		{"retiring", FG_CLI_YELLOW}, {"finish", FG_CLI_YELLOW},	  {"kept", FG_CLI_DIM},
		{"canary", FG_CLI_CYAN},     {"shadow", FG_CLI_DIM},
	};

	for (size_t i = 0; i < sizeof(styles) / sizeof(styles[0]); i++)
		if (strcmp(styles[i].phase, phase) == 0)
			return styles[i].style;
	return FG_CLI_PLAIN;
}

static void heading(FILE *out, const char *text)
{
	fprintf(out, "\n%s%s%s\n", fg_cli_style(FG_CLI_BOLD), text, fg_cli_style(FG_CLI_PLAIN));
}

/* "memory of 1.5 GiB: base 210 MiB, serving 1.1 GiB, ..." */
static void print_memory(const json_t *memory, FILE *out)
{
	static const char *const parts[] = {"base", "serving", "kept", "waiting", "packing"};
	char key[32], text[16];

	if (!fg_cli_integer_of(memory, "limit_bytes"))
		return;
	fprintf(out,
		"  memory of %s:", fg_cli_bytes(text, fg_cli_number_of(memory, "limit_bytes")));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		snprintf(key, sizeof(key), "%s_bytes", parts[i]);
		fprintf(out, "%s %s %s", i ? "," : "", parts[i],
			fg_cli_bytes(text, fg_cli_number_of(memory, key)));
	}
	fputc('\n', out);
}

static void print_service(const json_t *reply, FILE *out)
{
	bool ready = json_is_true(json_object_get(reply, "ready"));
	char listen[256], up[16], idle[16], why[1280];

	join(json_object_get(reply, "listen"), listen, sizeof(listen));
	fprintf(out, "%sflipgate %s%s  service %s  %s%s%s  up %s\n", fg_cli_style(FG_CLI_BOLD),
		fg_cli_text_of(reply, "version"), fg_cli_style(FG_CLI_PLAIN),
		fg_cli_text_of(reply, "service"),
		fg_cli_style(ready ? FG_CLI_GREEN : FG_CLI_YELLOW), ready ? "ready" : "not ready",
		fg_cli_style(FG_CLI_PLAIN),
		fg_cli_duration(up, fg_cli_number_of(reply, "uptime_s")));
	if (*fg_cli_text_of(reply, "not_ready"))
		fprintf(out, "  %snot ready: %s%s\n", fg_cli_style(FG_CLI_YELLOW),
			fg_cli_printable(why, sizeof(why), fg_cli_text_of(reply, "not_ready")),
			fg_cli_style(FG_CLI_PLAIN));
	fprintf(out, "  listens on %s, ", listen);
	join(json_object_get(reply, "listen_tcp"), listen, sizeof(listen));
	if (*listen)
		fprintf(out, "TCP %s, ", listen);
	fprintf(out, "mode %s", fg_cli_text_of(reply, "mode"));
	if (*fg_cli_text_of(reply, "interface"))
		fprintf(out, ", interface %s, %lld queue%s", fg_cli_text_of(reply, "interface"),
			fg_cli_integer_of(reply, "queues"),
			fg_cli_integer_of(reply, "queues") == 1 ? "" : "s");
	fprintf(out, "\n  policy %s, poll %s, a flow is idle after %s\n",
		fg_cli_text_of(reply, "policy"), fg_cli_text_of(reply, "poll"),
		fg_cli_duration(idle, fg_cli_number_of(reply, "flow_idle_ms") / 1e3));
	fprintf(out, "  keeper %lld, control %lld", fg_cli_integer_of(reply, "keeper_pid"),
		fg_cli_integer_of(reply, "control_pid"));
	if (fg_cli_integer_of(reply, "control_restarts"))
		fprintf(out, " %s(restarts: %lld)%s", fg_cli_style(FG_CLI_YELLOW),
			fg_cli_integer_of(reply, "control_restarts"), fg_cli_style(FG_CLI_PLAIN));
	fputc('\n', out);
	print_memory(json_object_get(reply, "memory"), out);
	if (*fg_cli_text_of(reply, "mode_reason"))
		fprintf(out, "  %sno faster mode: %s%s\n", fg_cli_style(FG_CLI_YELLOW),
			fg_cli_text_of(reply, "mode_reason"), fg_cli_style(FG_CLI_PLAIN));
}

/* "digits 2*, fraud 1": * marks the default version. */
static void models_of(const json_t *generation, char *text, size_t room)
{
	size_t i, length = 0;
	json_t *entry;

	*text = 0;
	json_array_foreach(json_object_get(generation, "models"), i, entry)
	{
		int wrote = snprintf(text + length, room - length, "%s%s %lld%s", i ? ", " : "",
				     fg_cli_text_of(entry, "model"),
				     fg_cli_integer_of(entry, "version"),
				     json_is_true(json_object_get(entry, "default")) ? "*" : "");

		if (wrote < 0 || (size_t)wrote >= room - length)
			return;
		length += (size_t)wrote;
	}
}

static void add_count(struct fg_cli_table *table, const json_t *object, const char *key,
		      enum fg_cli_style style)
{
	long long value = fg_cli_integer_of(object, key);
	char text[32];

	fg_cli_count(text, (unsigned long long)value);
	fg_cli_table_add(table, value ? style : FG_CLI_DIM, "%s", text);
}

/* "25%" of new flows, "" where it gets none or that is not known. */
static void weight_of(const json_t *generation, char *text, size_t room)
{
	const json_t *weight = json_object_get(generation, "weight");

	*text = 0;
	if (json_number_value(weight) > 0)
		snprintf(text, room, "%g%%", json_number_value(weight));
}

static void add_generation(struct fg_cli_table *table, const json_t *generation)
{
	const char *phase = fg_cli_text_of(generation, "phase");
	char slots[128], models[256], since[16], weight[16];

	join(json_object_get(generation, "slots"), slots, sizeof(slots));
	models_of(generation, models, sizeof(models));
	weight_of(generation, weight, sizeof(weight));
	fg_cli_table_add(table, FG_CLI_BOLD, "%lld", fg_cli_integer_of(generation, "id"));
	fg_cli_table_add(table, style_of(phase), "%s", phase);
	fg_cli_table_add(table, FG_CLI_PLAIN, "%s",
			 fg_cli_duration(since, fg_cli_number_of(generation, "since_s")));
	fg_cli_table_add(table, FG_CLI_PLAIN, "%s", weight);
	add_count(table, generation, "flows", FG_CLI_PLAIN);
	add_count(table, generation, "connections", FG_CLI_PLAIN);
	add_count(table, generation, "requests", FG_CLI_PLAIN);
	add_count(table, generation, "in_flight", FG_CLI_PLAIN);
	fg_cli_table_add(table, FG_CLI_PLAIN, "%s", slots);
	fg_cli_table_add(table, FG_CLI_PLAIN, "%s", models);
}

/* "generation 3 draining: 12 flows, 3 connections, 1.2 of 30 s" */
static void print_drain(const json_t *generation, FILE *out)
{
	const json_t *drain = json_object_get(generation, "drain");
	double deadline = fg_cli_number_of(drain, "deadline_s");

	if (!json_is_object(drain))
		return;
	fprintf(out, "  %sgeneration %lld draining: %lld flows, %lld connections, %.1f of %g s%s\n",
		fg_cli_style(FG_CLI_YELLOW), fg_cli_integer_of(generation, "id"),
		fg_cli_integer_of(generation, "flows"),
		fg_cli_integer_of(generation, "connections"),
		deadline - fg_cli_number_of(drain, "left_s"), deadline, fg_cli_style(FG_CLI_PLAIN));
}

static void print_generations(const json_t *reply, FILE *out)
{
	static const char *const names[] = {">generation", "phase",	 ">since",
					    ">new flows",  ">flows",	 ">connections",
					    ">requests",   ">in flight", "slots",
					    "models",	   NULL};
	struct fg_cli_table table;
	json_t *generation;
	size_t i;

	heading(out, "Generations");
	fg_cli_table_begin(&table, names);
	json_array_foreach(json_object_get(reply, "generations"), i, generation)
		add_generation(&table, generation);
	fg_cli_table_print(&table, out);
	json_array_foreach(json_object_get(reply, "generations"), i, generation)
		print_drain(generation, out);
}

/* Requests per second of a worker since `before`; negative when that is not known. */
static double rate_of(const json_t *worker, const json_t *before, double apart_s)
{
	json_t *other;
	size_t i;

	json_array_foreach(json_object_get(before, "workers"), i, other)
	{
		if (fg_cli_integer_of(other, "slot") == fg_cli_integer_of(worker, "slot") &&
		    fg_cli_integer_of(other, "pid") == fg_cli_integer_of(worker, "pid"))
			return (fg_cli_number_of(worker, "requests") -
				fg_cli_number_of(other, "requests")) /
			       apart_s;
	}
	return -1;
}

static void print_workers(const json_t *reply, const json_t *before, double apart_s, FILE *out)
{
	static const char *const names[] = {">slot",   ">generation", ">cpu",	     ">pid",
					    "phase",   "order",	      ">req/s",	     ">requests",
					    ">ok",     ">rows/batch", ">own memory", ">sleeps",
					    ">deaths", NULL};
	struct fg_cli_table table;
	json_t *worker;
	size_t i;

	heading(out, "Workers");
	fg_cli_table_begin(&table, names);
	json_array_foreach(json_object_get(reply, "workers"), i, worker)
	{
		const char *phase = fg_cli_text_of(worker, "phase"),
			   *order = fg_cli_text_of(worker, "order");
		double rate = rate_of(worker, before, apart_s);
		double batches = fg_cli_number_of(worker, "batches");
		char text[32];

		fg_cli_table_add(&table, FG_CLI_BOLD, "%lld", fg_cli_integer_of(worker, "slot"));
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%lld",
				 fg_cli_integer_of(worker, "generation"));
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%lld", fg_cli_integer_of(worker, "cpu"));
		fg_cli_table_add(&table, FG_CLI_DIM, "%lld", fg_cli_integer_of(worker, "pid"));
		fg_cli_table_add(&table, style_of(phase), "%s", phase);
		fg_cli_table_add(&table, style_of(order), "%s", order);
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%s",
				 rate < 0 ? "-" : fg_cli_count(text, (unsigned long long)rate));
		add_count(&table, worker, "requests", FG_CLI_PLAIN);
		add_count(&table, worker, "replies", FG_CLI_PLAIN);
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%.2f",
				 batches > 0 ? fg_cli_number_of(worker, "rows") / batches : 0.0);
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%s",
				 fg_cli_bytes(text, fg_cli_number_of(worker, "own_bytes")));
		add_count(&table, worker, "sleeps", FG_CLI_PLAIN);
		add_count(&table, worker, "deaths", FG_CLI_RED);
	}
	fg_cli_table_print(&table, out);
}

/* How what is held compares with what is on disk, where that is not the same. */
static const char *files_of(const json_t *version)
{
	static const char *const names[][2] = {
		{"differs", ", differs from disk"}, {"taken", ", new files are taken"},
		{"changed", ", its files changed"}, {"changing", ", its files change"},
		{"gone", ", gone from disk"},
	};
	const char *files = fg_cli_text_of(version, "files");

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(files, names[i][0]))
			return names[i][1];
	return "";
}

static void add_version(struct fg_cli_table *table, const json_t *model, const json_t *version)
{
	const char *state = fg_cli_text_of(version, "state");
	long long number = fg_cli_integer_of(version, "version");
	bool is_wanted = number == fg_cli_integer_of(model, "wanted") &&
			 number != fg_cli_integer_of(model, "live");
	char text[16], labels[128], error[FG_ERROR_BYTES];

	fg_cli_table_add(table, FG_CLI_BOLD, "%s", fg_cli_text_of(model, "model"));
	fg_cli_table_add(table, FG_CLI_BOLD, "%lld%s", number,
			 json_is_true(json_object_get(version, "default")) ? "*" : "");
	fg_cli_table_add(table, style_of(state), "%s%s%s", state, is_wanted ? " (wanted)" : "",
			 files_of(version));
	join(json_object_get(version, "labels"), labels, sizeof(labels));
	fg_cli_table_add(table, FG_CLI_CYAN, "%s", labels);
	if (fg_cli_number_of(version, "plan_bytes") > 0) {
		fg_cli_table_add(table, FG_CLI_PLAIN, "%s",
				 fg_cli_bytes(text, fg_cli_number_of(version, "plan_bytes")));
		fg_cli_table_add(table, FG_CLI_PLAIN, "%s",
				 fg_cli_duration(text, fg_cli_number_of(version, "pack_ms") / 1e3));
	} else {
		fg_cli_table_add(table, FG_CLI_DIM, "-");
		fg_cli_table_add(table, FG_CLI_DIM, "-");
	}
	fg_cli_printable(error, sizeof(error), fg_cli_text_of(version, "error"));
	if (json_is_number(json_object_get(version, "retry_s")))
		fg_cli_table_add(table, FG_CLI_YELLOW, "%s; tried again in %s", error,
				 fg_cli_duration(text, fg_cli_number_of(version, "retry_s")));
	else
		fg_cli_table_add(table, FG_CLI_RED, "%s", error);
}

static void print_models(const json_t *reply, FILE *out)
{
	static const char *const names[] = {"model", ">version",   "state", "labels",
					    ">plan", ">packed in", "",	    NULL};
	struct fg_cli_table table;
	json_t *model, *version;
	size_t i, j;

	heading(out, "Models");
	fg_cli_table_begin(&table, names);
	json_array_foreach(json_object_get(reply, "models"), i, model)
		json_array_foreach(json_object_get(model, "versions"), j, version)
			add_version(&table, model, version);
	fg_cli_table_print(&table, out);
}

/* What is not served though it may have been meant to be. */
static void print_remarks(const json_t *reply, FILE *out)
{
	const json_t *remarks = json_object_get(json_object_get(reply, "store"), "remarks"), *one;
	char path[640], reason[256];
	size_t i;

	if (json_array_size(remarks))
		heading(out, "Not served");
	json_array_foreach((json_t *)remarks, i, one)
	{
		fprintf(out, "  %s: %s",
			fg_cli_printable(path, sizeof(path), fg_cli_text_of(one, "path")),
			fg_cli_printable(reason, sizeof(reason), fg_cli_text_of(one, "reason")));
		if (fg_cli_integer_of(one, "more"))
			fprintf(out, " (and %lld more like it)", fg_cli_integer_of(one, "more"));
		fputc('\n', out);
	}
}

static void print_counters(const json_t *reply, FILE *out)
{
	static const char *const names[] = {"counter", ">value", NULL};
	struct fg_cli_table table;
	const char *name;
	json_t *value;

	fg_cli_table_begin(&table, names);
	json_object_foreach(json_object_get(reply, "counters"), name, value)
	{
		bool is_drop = strstr(name, "drop") || strstr(name, "moved");
		char text[32];

		if (json_integer_value(value) == 0)
			continue;
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%s", name);
		fg_cli_table_add(&table, is_drop ? FG_CLI_YELLOW : FG_CLI_PLAIN, "%s",
				 fg_cli_count(text, (unsigned long long)json_integer_value(value)));
	}
	heading(out, "Counters that are not zero");
	fg_cli_table_print(&table, out);
}

/* Replies that refused, summed over the workers: a line only when there are any. */
static void print_refusals(const json_t *reply, FILE *out)
{
	json_t *worker, *value, *sums = json_object();
	const char *name;
	size_t i;

	json_array_foreach(json_object_get(reply, "workers"), i, worker)
		json_object_foreach(json_object_get(worker, "statuses"), name,
				    value) if (strcmp(name, "ok") != 0 && json_integer_value(value))
			json_object_set_new(sums, name,
					    json_integer(fg_cli_integer_of(sums, name) +
							 json_integer_value(value)));
	if (json_object_size(sums)) {
		fprintf(out, "  %srefused:", fg_cli_style(FG_CLI_YELLOW));
		json_object_foreach(sums, name, value)
			fprintf(out, " %s %lld", name, (long long)json_integer_value(value));
		fprintf(out, "%s\n", fg_cli_style(FG_CLI_PLAIN));
	}
	json_decref(sums);
}

static void print_flips(const json_t *reply, FILE *out)
{
	const json_t *flips = json_object_get(reply, "flips"),
		     *last = json_object_get(flips, "last");
	char text[16];

	heading(out, "Flips");
	fprintf(out, "  %lld", fg_cli_integer_of(flips, "count"));
	if (json_is_object(last) && fg_cli_integer_of(flips, "count")) {
		fprintf(out, ", the last to generation %lld",
			fg_cli_integer_of(last, "generation"));
		if (fg_cli_integer_of(last, "from"))
			fprintf(out, " from %lld", fg_cli_integer_of(last, "from"));
		fprintf(out, ", took %s",
			fg_cli_duration(text, fg_cli_number_of(last, "took_us") / 1e6));
	}
	fputc('\n', out);
}

static void print_canary(const json_t *reply, FILE *out)
{
	const json_t *canary = json_object_get(reply, "canary");
	const json_t *shadow = json_object_get(reply, "shadow");

	if (json_is_object(canary)) {
		heading(out, "Canary");
		fg_cli_canary_print(canary, out);
	}
	if (json_is_object(shadow)) {
		heading(out, "Shadow");
		fg_cli_shadow_print(shadow, out);
	}
}

/* Places of the operator's files that do not answer. */
static void print_silent(const json_t *reply, FILE *out)
{
	const json_t *silent = json_object_get(json_object_get(reply, "store"), "silent"), *one;
	char path[512], since[16];
	size_t i;

	json_array_foreach((json_t *)silent, i, one)
		fprintf(out, "\n  %s%s does not answer for %s: what is known of it stays valid%s\n",
			fg_cli_style(FG_CLI_RED),
			fg_cli_printable(path, sizeof(path), fg_cli_text_of(one, "path")),
			fg_cli_duration(since, fg_cli_number_of(one, "since_s")),
			fg_cli_style(FG_CLI_PLAIN));
}

/* What needs somebody: a reload that was refused, or is being tried; audit lines that were lost; a
 * store that hangs. */
static void print_notes(const json_t *reply, FILE *out)
{
	const json_t *reload = json_object_get(reply, "reload");
	const json_t *audit = json_object_get(reply, "audit");
	const char *error = fg_cli_text_of(reload, "error");
	char text[FG_ERROR_BYTES];

	if (json_is_true(json_object_get(reload, "active")))
		fprintf(out, "\n  %sa new configuration is being tried%s\n",
			fg_cli_style(FG_CLI_CYAN), fg_cli_style(FG_CLI_PLAIN));
	else if (*error) {
		fprintf(out, "\n  %sthe last reload was refused: ", fg_cli_style(FG_CLI_RED));
		fg_cli_wrap(out, sizeof("  the last reload was refused: ") - 1, 4,
			    fg_cli_printable(text, sizeof(text), error));
		fprintf(out, "%s\n", fg_cli_style(FG_CLI_PLAIN));
	}
	if (fg_cli_integer_of(audit, "lost"))
		fprintf(out, "\n  %saudit log %s: %lld lines could not be written%s\n",
			fg_cli_style(FG_CLI_RED), fg_cli_text_of(audit, "path"),
			fg_cli_integer_of(audit, "lost"), fg_cli_style(FG_CLI_PLAIN));
	print_silent(reply, out);
}

void fg_cli_status_print(const json_t *reply, const json_t *before, double apart_s, FILE *out)
{
	print_service(reply, out);
	print_notes(reply, out);
	print_generations(reply, out);
	print_canary(reply, out);
	print_workers(reply, before, apart_s, out);
	print_refusals(reply, out);
	print_models(reply, out);
	print_remarks(reply, out);
	print_flips(reply, out);
	print_counters(reply, out);
}
