/* The report of a load for people: counts, percentiles, versions, and p99 over time. */
#include "tools/cli_load.h"

#include <string.h>
#include <unistd.h>
#include "tools/cli_table.h"

#define CHART_ROWS  6
#define MAX_COLUMNS 160
#define LABEL_WIDTH 10

static double number_of(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static unsigned long long count_of(const json_t *object, const char *key)
{
	return (unsigned long long)json_integer_value(json_object_get(object, key));
}

/* "  lost 0", in red when it should be 0 and is not. */
static void print_count(FILE *out, const char *name, unsigned long long value, bool is_bad)
{
	char text[32];

	fprintf(out, "  %s %s%s%s", name, fg_cli_style(is_bad && value ? FG_CLI_RED : FG_CLI_BOLD),
		fg_cli_count(text, value), fg_cli_style(FG_CLI_PLAIN));
}

static void print_counts(const json_t *report, FILE *out)
{
	const json_t *flows = json_object_get(report, "flows");
	char rate[32], lag[16], gap[16];
	const char *status;
	json_t *count;

	fprintf(out, "%s%s%s at %s: %s requests/s for %.1f s over %llu flows\n",
		fg_cli_style(FG_CLI_BOLD), json_string_value(json_object_get(report, "model")),
		fg_cli_style(FG_CLI_PLAIN), json_string_value(json_object_get(report, "address")),
		fg_cli_count(rate, (unsigned long long)(number_of(report, "rate_sent") + 0.5)),
		number_of(report, "duration_s"), count_of(flows, "total"));
	fprintf(out, "  a flow asks every %s; the sender was up to %s late\n\n",
		fg_cli_duration(gap, number_of(report, "flow_gap_ms") / 1e3),
		fg_cli_duration(lag, number_of(report, "send_lag_us") / 1e6));
	print_count(out, "requests", count_of(report, "requests"), false);
	print_count(out, "replies", count_of(report, "replies"), false);
	print_count(out, "lost", count_of(report, "lost"), true);
	print_count(out, "late", count_of(report, "late"), true);
	json_object_foreach(json_object_get(report, "errors"), status, count)
		print_count(out, status, (unsigned long long)json_integer_value(count), true);
	if (count_of(report, "not_sent"))
		print_count(out, "not sent", count_of(report, "not_sent"), true);
	if (count_of(report, "socket_errors")) {
		print_count(out, "socket errors", count_of(report, "socket_errors"), true);
		fprintf(out, " (%s)",
			json_string_value(json_object_get(report, "last_socket_error")));
	}
	fputc('\n', out);
	if (count_of(report, "leaving") || count_of(report, "reconnects")) {
		print_count(out, "connections that left", count_of(report, "leaving"), false);
		print_count(out, "ended", count_of(report, "ends"), true);
		print_count(out, "were reset", count_of(report, "resets"), true);
		print_count(out, "reconnected", count_of(report, "reconnects"), false);
		print_count(out, "requests sent again", count_of(report, "retried"), true);
		fputc('\n', out);
	}
	print_count(out, "flows that saw two versions", count_of(report, "mixed_version_flows"),
		    true);
	if (count_of(report, "checked_outputs")) {
		json_t *worst = json_object_get(report, "max_abs_error");

		print_count(out, "outputs checked", count_of(report, "checked_outputs"), false);
		print_count(out, "wrong", count_of(report, "wrong_outputs"), true);
		if (!json_is_null(worst))
			fprintf(out, "  largest error %.2g", json_number_value(worst));
	}
	fputs("\n\n", out);
}

static void add_times(struct fg_cli_table *table, const char *name, const json_t *times)
{
	static const char *const keys[] = {"p50", "p99", "p999", "max"};
	char text[32];

	fg_cli_table_add(table, FG_CLI_PLAIN, "%s", name);
	fg_cli_table_add(table, FG_CLI_DIM, "%s", fg_cli_count(text, count_of(times, "count")));
	for (size_t k = 0; k < 4; k++)
		fg_cli_table_add(table, FG_CLI_PLAIN, "%s",
				 count_of(times, "count")
					 ? fg_cli_duration(text, number_of(times, keys[k]) / 1e6)
					 : "-");
}

static void print_times(const json_t *report, FILE *out)
{
	static const char *const names[] = {"round trip", ">requests", ">p50", ">p99",
					    ">p99.9",	  ">max",      NULL};
	const json_t *flips = json_object_get(report, "flips");
	struct fg_cli_table table;
	json_t *flip;
	size_t i;

	fg_cli_table_begin(&table, names);
	add_times(&table, "all", json_object_get(report, "rtt_us"));
	if (json_array_size(flips))
		add_times(&table, "steady", json_object_get(report, "steady"));
	json_array_foreach((json_t *)flips, i, flip)
	{
		char name[96];

		snprintf(name, sizeof(name), "around flip at %.3f s to version %llu",
			 number_of(flip, "at_s"), count_of(flip, "to_version"));
		add_times(&table, name, json_object_get(flip, "around"));
	}
	fg_cli_table_print(&table, out);
	fputc('\n', out);
}

static void print_versions(const json_t *report, FILE *out)
{
	static const char *const names[] = {
		">version",	   ">replies",	  ">accuracy", ">flows began",
		">flows finished", ">flows only", NULL};
	const json_t *flows = json_object_get(report, "flows");
	struct fg_cli_table table;
	const char *key;
	json_t *version;

	fg_cli_table_begin(&table, names);
	json_object_foreach(json_object_get(report, "versions"), key, version)
	{
		json_t *accuracy = json_object_get(version, "accuracy");
		char text[32];

		fg_cli_table_add(&table, FG_CLI_BOLD, "%s", key);
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%s",
				 fg_cli_count(text, count_of(version, "replies")));
		if (accuracy)
			fg_cli_table_add(&table, FG_CLI_PLAIN, "%.4f", json_number_value(accuracy));
		else
			fg_cli_table_add(&table, FG_CLI_DIM, "-");
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%s",
				 fg_cli_count(text,
					      count_of(json_object_get(flows, "began_on"), key)));
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%s",
				 fg_cli_count(text, count_of(json_object_get(flows, "finished_on"),
							     key)));
		fg_cli_table_add(&table, FG_CLI_PLAIN, "%s",
				 fg_cli_count(text, count_of(version, "flows_only")));
	}
	fg_cli_table_print(&table, out);
}

/* ---- the chart ------------------------------------------------------------------------------ */

struct chart {
	double values[MAX_COLUMNS]; /* the worst p99 of the windows that share a column, in us */
	bool flips[MAX_COLUMNS];
	int columns;
	double top;
};

static int chart_columns(FILE *out)
{
	unsigned int width = fg_cli_width(out);

	return width > LABEL_WIDTH + 30 ? (int)width : 80;
}

static void fill_chart(struct chart *chart, const json_t *report, int width)
{
	const json_t *timeline = json_object_get(report, "timeline");
	size_t windows = json_array_size(timeline), i;
	json_t *window, *flip;
	double begin = number_of(json_array_get(timeline, 0), "t_s");
	double end = number_of(json_array_get(timeline, windows - 1), "t_s") + 0.1;

	memset(chart, 0, sizeof(*chart));
	chart->columns = width > MAX_COLUMNS ? MAX_COLUMNS : width;
	if (windows < (size_t)chart->columns)
		chart->columns = (int)windows;
	json_array_foreach((json_t *)timeline, i, window)
	{
		size_t column = i * (size_t)chart->columns / windows;

		if (number_of(window, "p99") > chart->values[column])
			chart->values[column] = number_of(window, "p99");
		if (chart->values[column] > chart->top)
			chart->top = chart->values[column];
	}
	json_array_foreach(json_object_get(report, "flips"), i, flip)
	{
		double at = (number_of(flip, "at_s") - begin) / (end - begin);

		if (at >= 0 && at < 1)
			chart->flips[(int)(at * chart->columns)] = true;
	}
}

static void print_chart_row(const struct chart *chart, int row, FILE *out)
{
	static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	char label[16] = "";

	if (row == CHART_ROWS - 1)
		fg_cli_duration(label, chart->top / 1e6);
	fprintf(out, "  %s%*s%s ", fg_cli_style(FG_CLI_DIM), LABEL_WIDTH - 3, label,
		fg_cli_style(FG_CLI_PLAIN));
	for (int c = 0; c < chart->columns; c++) {
		/* Eighths of a row above this one's foot; a value is never quite nothing. */
		double eighths = chart->values[c] / chart->top * CHART_ROWS * 8 - row * 8;
		int block = eighths >= 8 ? 8 : eighths > 0 ? (int)eighths : 0;

		if (row == 0 && block == 0 && chart->values[c] > 0)
			block = 1;
		fprintf(out, "%s%s%s", chart->flips[c] ? fg_cli_style(FG_CLI_YELLOW) : "",
			blocks[block], chart->flips[c] ? fg_cli_style(FG_CLI_PLAIN) : "");
	}
	fputc('\n', out);
}

static void print_chart(const json_t *report, FILE *out)
{
	struct chart chart;
	bool any = false;

	if (json_array_size(json_object_get(report, "timeline")) < 2)
		return;
	fill_chart(&chart, report, chart_columns(out) - LABEL_WIDTH - 2);
	if (chart.top <= 0)
		return;
	fprintf(out, "\n  %sp99 of each 100 ms%s\n", fg_cli_style(FG_CLI_BOLD),
		fg_cli_style(FG_CLI_PLAIN));
	for (int row = CHART_ROWS - 1; row >= 0; row--)
		print_chart_row(&chart, row, out);
	for (int c = 0; c < chart.columns; c++)
		any |= chart.flips[c];
	if (!any)
		return;
	fprintf(out, "%*s", LABEL_WIDTH, "");
	for (int c = 0; c < chart.columns; c++)
		fputs(chart.flips[c] ? "▲" : " ", out);
	fprintf(out, "\n%*sflips\n", LABEL_WIDTH, "");
}

void fg_load_print(const json_t *report, FILE *out)
{
	print_counts(report, out);
	print_times(report, out);
	print_versions(report, out);
	print_chart(report, out);
}
