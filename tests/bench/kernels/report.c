#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "tests/bench/kernels/report.h"

#define DISTURBED_PERCENT 5

static const struct {
	const char *name;
	enum bench_entry entry;
	uint32_t rows;
} ours[] = {
	{"flipgate f32", BENCH_F32_1, 1},   {"flipgate f32", BENCH_F32_32, 32},
	{"flipgate f32", BENCH_F32_2, 2},   {"flipgate f32", BENCH_F32_3, 3},
	{"flipgate bf16", BENCH_BF16_1, 1}, {"flipgate int8", BENCH_INT8_1, 1},
};
#define OURS (sizeof(ours) / sizeof(ours[0]))

static double median_us(const struct bench_field *field, uint32_t entry)
{
	return bench_spread(field->contestants[entry].ns).median / 1e3;
}

/* Commas between thousands; static. */
static const char *with_commas(uint64_t number)
{
	static char text[32];
	int length = snprintf(text, sizeof(text), "%lu", (unsigned long)number);

	for (int at = length - 3; at > 0; at -= 3) {
		memmove(text + at + 1, text + at, (size_t)(++length - at));
		text[at] = ',';
	}
	return text;
}

/* Of a pair of entries, the faster in every repeat. */
static double load_gb_per_s(const struct bench_field *field, uint32_t entry, uint32_t entry_two,
			    size_t bytes)
{
	double ns[BENCH_REPEATS];

	bench_fastest(field->contestants[entry].ns, field->contestants[entry_two].ns, ns);
	return (double)bytes / bench_spread(ns).median;
}

static const char *const format_names[FG_WEIGHTS_COUNT] = {"f32", "bf16", "int8"};

/* For every working set: whose it is, bytes, and how fast it is read. */
static void each_load(const struct bench_report *report, FILE *file,
		      void (*put)(FILE *file, const struct bench_report *report, const char *whose,
				  size_t bytes, double gb_per_s))
{
	put(file, report, "", BENCH_L1_BYTES,
	    load_gb_per_s(&report->fields[0], BENCH_LOAD_L1, BENCH_LOAD_L1_TWO, BENCH_L1_BYTES));
	for (uint32_t i = 0; i < BENCH_MODELS; i++) {
		const struct bench_field *field = &report->fields[i];

		for (uint32_t format = 0; format < FG_WEIGHTS_COUNT; format++) {
			size_t bytes = bench_weight_bytes(&field->model, format);
			char whose[16];

			snprintf(whose, sizeof(whose), "%s %s", field->model.name,
				 format_names[format]);
			put(file, report, whose, bytes,
			    load_gb_per_s(field, BENCH_LOAD + format, BENCH_LOAD_TWO + format,
					  bytes));
		}
	}
}

static void print_load(FILE *file, const struct bench_report *report, const char *whose,
		       size_t bytes, double gb_per_s)
{
	(void)report;
	fprintf(file, "  loads from %-6s %10s bytes  %-7s %8.1f GB/s\n", bench_level(bytes),
		with_commas(bytes), whose, gb_per_s);
}

/* How much longer the multiply-add loop took in its worst repeat than in its best, over all models:
 * it should always take the same time. */
static double disturbance(const struct bench_report *report)
{
	double least = INFINITY, most = 0;

	for (uint32_t i = 0; i < BENCH_MODELS; i++) {
		struct bench_spread ns = bench_spread(report->fields[i].contestants[BENCH_PEAK].ns);

		least = fmin(least, ns.least);
		most = fmax(most, ns.most);
	}
	return most / least - 1;
}

static void print_machine(const struct bench_report *report)
{
	const struct bench_loops *loops = report->plugins->loops;
	double peak[BENCH_REPEATS], disturbed = 100 * disturbance(report);

	bench_peak(&report->fields[0].contestants[BENCH_PEAK], loops, peak);
	printf("\nWhat this CPU can do, by loops that do nothing else\n\n");
	printf("  multiply-add, %u chains of %2u floats       %8.1f GFLOPS\n", loops->chains,
	       loops->lanes, 1 / bench_spread(peak).median);
	each_load(report, stdout, print_load);
	if (disturbed > DISTURBED_PERCENT)
		printf("\n  DISTURBED: the multiply-add loop took up to %.0f %% longer in one "
		       "repeat than"
		       " in another.\n  Others use this core; run it again when they do not.\n",
		       disturbed);
}

/* Time, and how much of it the CPU needs at least. BENCH_ENTRIES: no such contestant. */
static void print_cell(const struct bench_field *field, uint32_t entry, enum fg_weights format,
		       uint32_t rows)
{
	double roof_ns[BENCH_REPEATS];

	if (entry == BENCH_ENTRIES || !field->contestants[entry].run) {
		printf(" %9s %4s", entry == BENCH_ENTRIES ? "" : "-", "");
		return;
	}
	bench_roof(field, format, rows, roof_ns);
	printf(" %9.2f %3.0f%%", median_us(field, entry),
	       100 * bench_ratio(roof_ns, field->contestants[entry].ns).median);
}

static void print_times_line(const struct bench_report *report, const char *name,
			     enum fg_weights format, uint32_t one, uint32_t many)
{
	printf("  %-21s", name);
	for (uint32_t i = 0; i < BENCH_MODELS; i++) {
		print_cell(&report->fields[i], one, format, 1);
		print_cell(&report->fields[i], many, format, BENCH_MAX_ROWS);
	}
	printf("\n");
}

/* Of the entries from `first` to `last`, over all models. */
static void print_difference(const struct bench_report *report, const char *name, uint32_t first,
			     uint32_t last)
{
	double worst = NAN;

	for (uint32_t i = 0; i < BENCH_MODELS; i++)
		for (uint32_t entry = first; entry <= last; entry++)
			worst = fmax(worst, report->fields[i].difference[entry]);
	if (!isnan(worst))
		printf("%s %.1e", name, worst);
}

static void print_differences(const struct bench_report *report)
{
	printf("\n  largest difference to double precision:");
	print_difference(report, " flipgate f32", BENCH_F32_1, BENCH_F32_32);
	print_difference(report, ", bf16", BENCH_BF16_1, BENCH_BF16_1);
	print_difference(report, ", int8", BENCH_INT8_1, BENCH_INT8_1);
	print_difference(report, "; the others", BENCH_WAY_1, BENCH_ENTRIES - 1);
	printf("\n");
}

static void print_absent(const struct bench_report *report)
{
	const struct bench_way *ways = report->plugins->ways;

	for (uint32_t way = 0; way < BENCH_REFERENCES; way++)
		if (!ways[way].reference)
			printf("  absent: %s: %s\n", ways[way].name, ways[way].why);
	for (uint32_t i = 0; i < BENCH_MODELS; i++) {
		const struct bench_field *field = &report->fields[i];

		for (size_t o = 0; o < OURS; o++)
			if (field->why[ours[o].entry][0])
				printf("  absent: %s, %s, %u rows: %s\n", ours[o].name,
				       field->model.name, ours[o].rows, field->why[ours[o].entry]);
		for (uint32_t way = 0; way < 2 * BENCH_REFERENCES; way++)
			if (ways[way % BENCH_REFERENCES].reference &&
			    field->why[BENCH_WAY_1 + way][0])
				printf("  absent: %s, %s, %u rows: %s\n",
				       ways[way % BENCH_REFERENCES].name, field->model.name,
				       way < BENCH_REFERENCES ? 1 : BENCH_MAX_ROWS,
				       field->why[BENCH_WAY_1 + way]);
	}
}

static void print_versions(const struct bench_report *report)
{
	printf("  measured:");
	for (uint32_t way = 0; way < BENCH_REFERENCES; way++)
		if (report->plugins->ways[way].version[0])
			printf("%s %s (%s)", way ? "," : "", report->plugins->ways[way].name,
			       report->plugins->ways[way].version);
	printf("\n");
}

static void print_times(const struct bench_report *report)
{
	printf("\nMicroseconds for 1 row and for 32, and how much of them the CPU needs at "
	       "least\n\n"
	       "  %-21s",
	       "");
	for (uint32_t i = 0; i < BENCH_MODELS; i++) {
		const struct bench_model *model = &report->fields[i].model;
		char shape[32];

		snprintf(shape, sizeof(shape), "%s %u-%u-%u-%u", model->name, model->cols[0],
			 model->cols[1], model->cols[2], model->cols[3]);
		printf(" %29s", shape);
	}
	printf("\n  %-21s", "");
	for (uint32_t i = 0; i < BENCH_MODELS; i++)
		printf(" %14s %14s", "1 row ", "32 rows ");
	printf("\n");
	print_times_line(report, "flipgate f32", FG_WEIGHTS_F32, BENCH_F32_1, BENCH_F32_32);
	print_times_line(report, "         bf16", FG_WEIGHTS_BF16, BENCH_BF16_1, BENCH_ENTRIES);
	print_times_line(report, "         int8", FG_WEIGHTS_INT8, BENCH_INT8_1, BENCH_ENTRIES);
	for (uint32_t way = 0; way < BENCH_REFERENCES; way++)
		print_times_line(report, report->plugins->ways[way].name, FG_WEIGHTS_F32,
				 BENCH_WAY_1 + way, BENCH_WAY_32 + way);
	print_differences(report);
	print_versions(report);
	print_absent(report);
}

static double worst(const struct bench_number *number)
{
	return number->at_least ? number->ratio.least : number->ratio.most;
}

static const char *verdict(const struct bench_number *number)
{
	if (isnan(number->aim))
		return "";
	if (bench_number_met(number))
		return "met";
	return bench_number_out_of_reach(number) ? "MISSED*" : "MISSED";
}

static void print_number(const struct bench_number *number)
{
	char values[32], aim[16] = "", limit[16] = "";

	if (number->why[0]) {
		printf("  %-22s %-4s  %s\n", number->what, number->on, number->why);
		return;
	}
	if (!isnan(number->aim))
		snprintf(aim, sizeof(aim), "%s %.2f", number->at_least ? ">=" : "<=", number->aim);
	if (!isnan(number->limit))
		snprintf(limit, sizeof(limit), "%.3f", number->limit);
	snprintf(values, sizeof(values), number->value < 1 ? "%.3f / %.3f" : "%.2f / %.2f",
		 number->value, number->reference);
	printf("  %-22s %-4s %17s %-6s %6.3f %6.3f %6s  %-7s %-8s %-25s %s\n", number->what,
	       number->on, values, number->unit, number->ratio.median, worst(number), limit, aim,
	       verdict(number), number->against, number->bound);
}

static void print_numbers(const struct bench_report *report)
{
	uint32_t row = 0, met = 0, aims = 0, beyond = 0;

	printf("\nThe numbers: median ratio of %d repeats, the worst of them, and the limit that "
	       "this\n"
	       "CPU's multiply-adds and loads set\n\n"
	       "  %-22s %-4s %17s %-6s %6s %6s %6s  %-7s %-8s %-25s %s\n",
	       BENCH_REPEATS, "", "", "flipgate / it", "", "ratio", "worst", "limit", "aim", "",
	       "it", "bound by");
	for (uint32_t i = 0; i < report->count; i++) {
		const struct bench_number *number = &report->numbers[i];

		if (row && number->row != row)
			printf("\n");
		row = number->row;
		print_number(number);
		aims += !isnan(number->aim);
		met += bench_number_met(number);
		beyond += verdict(number)[0] == 'M' && bench_number_out_of_reach(number);
	}
	printf("\n  %u of %u aims met\n", met, aims);
	if (beyond)
		printf("  * beyond the limit: no %s kernel on this CPU could meet it against that"
		       " time\n",
		       report->isa);
}

void bench_report_print(const struct bench_report *report)
{
	printf("flipgate's kernels, %s, one thread on one CPU\n", report->isa);
	print_machine(report);
	print_times(report);
	print_numbers(report);
}

/* ---- JSON ---- */

static void put_text(FILE *file, const char *key, const char *text)
{
	fprintf(file, "\"%s\": \"", key);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', file);
		fputc((unsigned char)*text < ' ' ? ' ' : *text, file);
	}
	fprintf(file, "\", ");
}

static void put_number(FILE *file, const char *key, double number)
{
	if (isfinite(number))
		fprintf(file, "\"%s\": %.6g, ", key, number);
	else
		fprintf(file, "\"%s\": null, ", key);
}

static void put_row(FILE *file, const struct bench_report *report,
		    const struct bench_number *number)
{
	char metric[128];
	int judged = !isnan(number->aim);

	snprintf(metric, sizeof(metric), "%s, %s", number->what, number->on);
	fprintf(file, "%s  {", number == report->numbers ? "\n" : ",\n");
	put_text(file, "metric", metric);
	put_number(file, "value", number->value);
	put_text(file, "unit", number->unit);
	put_number(file, "reference", number->reference);
	put_number(file, "ratio", number->ratio.median);
	put_number(file, "worst_ratio", worst(number));
	put_number(file, "limit", number->limit);
	put_number(file, "aim", number->aim);
	fprintf(file, "\"aim_is_least\": %s, ", number->at_least ? "true" : "false");
	put_text(file, "against", number->against);
	put_text(file, "bound", number->why[0] ? number->why : number->bound);
	put_text(file, "isa", report->isa);
	fprintf(file, "\"met\": %s}",
		!judged			   ? "null"
		: bench_number_met(number) ? "true"
					   : "false");
}

static void put_time(FILE *file, const struct bench_report *report, const struct bench_field *field,
		     const char *name, uint32_t rows, uint32_t entry)
{
	char metric[128];

	snprintf(metric, sizeof(metric), "time, %s, %u rows, %s", field->model.name, rows, name);
	fprintf(file, ",\n  {");
	put_text(file, "metric", metric);
	put_number(file, "value", median_us(field, entry));
	put_text(file, "unit", "us");
	put_number(file, "difference", field->difference[entry]);
	put_text(file, "isa", report->isa);
	put_text(file, "absent", field->why[entry]);
	fprintf(file, "\"reference\": null, \"ratio\": null, \"aim\": null, \"met\": null}");
}

static void put_times(FILE *file, const struct bench_report *report,
		      const struct bench_field *field)
{
	for (size_t o = 0; o < OURS; o++)
		put_time(file, report, field, ours[o].name, ours[o].rows, ours[o].entry);
	for (uint32_t way = 0; way < BENCH_REFERENCES; way++) {
		const char *name = report->plugins->ways[way].name;

		put_time(file, report, field, name, 1, BENCH_WAY_1 + way);
		put_time(file, report, field, name, BENCH_MAX_ROWS, BENCH_WAY_32 + way);
	}
}

static void put_load(FILE *file, const struct bench_report *report, const char *whose, size_t bytes,
		     double gb_per_s)
{
	char metric[128];

	snprintf(metric, sizeof(metric), "loads from %s, %zu bytes%s%s", bench_level(bytes), bytes,
		 *whose ? ", " : "", whose);
	fprintf(file, ",\n  {");
	put_text(file, "metric", metric);
	put_number(file, "value", gb_per_s);
	put_text(file, "unit", "GB/s");
	put_text(file, "isa", report->isa);
	fprintf(file, "\"reference\": null, \"ratio\": null, \"aim\": null, \"met\": null}");
}

int bench_report_write(const struct bench_report *report)
{
	const char *build = getenv("BUILD") ?: "build";
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/bench", build);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/bench/kernels.json", build);
	file = fopen(path, "w");
	if (!file)
		return -errno;
	fprintf(file, "[");
	for (uint32_t i = 0; i < report->count; i++)
		put_row(file, report, &report->numbers[i]);
	for (uint32_t i = 0; i < BENCH_MODELS; i++)
		put_times(file, report, &report->fields[i]);
	each_load(report, file, put_load);
	fprintf(file, "\n]\n");
	if (fclose(file))
		return -errno;
	printf("  written to %s\n", path);
	return 0;
}
