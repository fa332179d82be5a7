/*
 * How near flipgate's kernels are to what the CPU can do, and how they compare with other
 * libraries: `make bench-kernels`. FG_ISA (models/cpu.h) asks for a slower instruction set.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "models/cpu.h"
#include "tests/bench/kernels/field.h"
#include "tests/bench/kernels/functions.h"
#include "tests/bench/kernels/numbers.h"
#include "tests/bench/kernels/plugins.h"
#include "tests/bench/kernels/report.h"

static void stay_on_this_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		perror("bench_kernels: sched_setaffinity (times may jump between CPUs)");
}

static const struct fg_kernels *select_kernels(void)
{
	const struct fg_kernels *kernels = fg_cpu_select();
	const char *wanted = getenv("FG_ISA");

	if (wanted && *wanted && strcmp(wanted, kernels->isa) != 0) {
		fprintf(stderr, "bench_kernels: FG_ISA=%s: the kernels that run here are", wanted);
		for (size_t i = 0; fg_cpu_kernels(i); i++)
			fprintf(stderr, " %s", fg_cpu_kernels(i)->isa);
		fprintf(stderr, "\n");
		exit(1);
	}
	return kernels;
}

static struct bench_field fields[BENCH_MODELS];
static struct bench_function_field functions[BENCH_FUNCTIONS];

/* All contests at once, so that each is spread over the whole run. -> how many contestants were
 * left out because they are wrong. */
static uint32_t measure(const struct fg_kernels *kernels, struct bench_plugins *plugins)
{
	uint32_t wrong = 0;

	for (uint32_t i = 0; i < BENCH_MODELS; i++) {
		bench_field_open(&fields[i], i, kernels, plugins);
		wrong += fields[i].wrong;
	}
	for (uint32_t i = 0; i < BENCH_FUNCTIONS; i++)
		bench_function_open(&functions[i], (enum bench_function)i, kernels, plugins);
	for (uint32_t slice = 0; slice < BENCH_SLICES; slice++) {
		for (uint32_t i = 0; i < BENCH_MODELS; i++)
			bench_contest_pass(fields[i].contestants, BENCH_ENTRIES);
		for (uint32_t i = 0; i < BENCH_FUNCTIONS; i++)
			bench_contest_pass(functions[i].contestants, BENCH_FUNCTION_ENTRIES);
	}
	for (uint32_t i = 0; i < BENCH_MODELS; i++)
		bench_field_close(&fields[i], plugins);
	return wrong;
}

int main(void)
{
	static struct bench_number numbers[BENCH_MAX_NUMBERS];
	const struct fg_kernels *kernels = select_kernels();
	struct bench_plugins plugins;
	struct bench_report report = {.isa = kernels->isa,
				      .plugins = &plugins,
				      .fields = fields,
				      .numbers = numbers};
	uint32_t wrong;
	int result;

	stay_on_this_cpu();
	bench_plugins_open(&plugins, kernels->isa);
	wrong = measure(kernels, &plugins);
	report.count = bench_numbers(fields, functions, &plugins, numbers);
	bench_report_print(&report);
	result = bench_report_write(&report);
	if (result)
		fprintf(stderr, "bench_kernels: cannot write kernels.json: %s\n",
			strerror(-result));
	return wrong || result;
}
