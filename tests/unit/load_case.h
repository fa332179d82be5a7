/*
 * load_case.h: what the tests of the load generator share: a model of sums, a load of it, and how
 * to read the report.
 */
#ifndef FG_TESTS_LOAD_CASE_H
#define FG_TESTS_LOAD_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tools/cli_load.h"

#define ROWS 7
#define COLS 3
#define MS   1000000ull

/* Row r is (r, 2r, 3r): the model of responder_compute answers (6r, version). */
static float input[ROWS * COLS], expected[2][ROWS * 2];
static double labels[ROWS];

static inline int fill(void **state)
{
	(void)state;
	for (int r = 0; r < ROWS; r++) {
		for (int c = 0; c < COLS; c++)
			input[r * COLS + c] = (float)((c + 1) * r);
		for (int v = 0; v < 2; v++) {
			expected[v][r * 2] = (float)(6 * r);
			expected[v][r * 2 + 1] = (float)(v + 1);
		}
		labels[r] =
			0; /* right for all rows but the first, whose sum is below the version */
	}
	return 0;
}

/* 600 requests in 300 ms, on 10 flows. */
static inline struct fg_load_config config_for(const char *address)
{
	struct fg_load_config config = {
		.address = address,
		.model = "sums",
		.rate = 2000,
		.duration_ns = 300 * MS,
		.timeout_ns = 1000 * MS,
		.flip_window_ns = 20 * MS,
		.flows = 10,
		.rows_per_request = 1,
		.tolerance = 1e-6,
		.input = {.rows = ROWS, .cols = COLS, .dtype = FG_DTYPE_F32, .data = input},
		.expect_count = 2,
	};

	for (uint32_t v = 0; v < 2; v++) {
		config.expects[v].version = v + 1;
		config.expects[v].outputs = (struct fg_matrix){.rows = ROWS,
							       .cols = 2,
							       .dtype = FG_DTYPE_F32,
							       .data = expected[v]};
	}
	return config;
}

static inline json_t *report_of(const struct fg_load_config *config)
{
	struct fg_error error;
	struct fg_load load;
	json_t *report;

	if (fg_load_run(&load, config, &error))
		fail_msg("%s", error.text);
	report = fg_load_report(&load);
	assert_non_null(report);
	fg_load_free(&load);
	return report;
}

/* The number at "a.b.c"; a part that is digits is an index where an array is. */
static inline double at(const json_t *object, const char *path)
{
	char copy[128], *rest = copy, *part;

	snprintf(copy, sizeof(copy), "%s", path);
	while ((part = strsep(&rest, ".")))
		object = json_is_array(object) ? json_array_get(object, strtoul(part, NULL, 10))
					       : json_object_get(object, part);
	if (!json_is_number(object))
		fail_msg("no number at %s", path);
	return json_number_value(object);
}

static inline void expect_counts(const json_t *report, int requests, int lost, int mixed, int wrong)
{
	assert_int_equal(at(report, "requests"), requests);
	assert_int_equal(at(report, "replies"), requests - lost);
	assert_int_equal(at(report, "lost"), lost);
	assert_int_equal(at(report, "mixed_version_flows"), mixed);
	assert_int_equal(at(report, "wrong_outputs"), wrong);
	assert_int_equal(at(report, "not_sent"), 0);
}

#endif
