/* Plans of canaries, guards, and their words. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "sched/canary.h"

static const struct fg_canary_plan good = {
	.step_count = 3,
	.steps = {100, 2500, 10000},
	.guards = {.error_rate = 0.01, .p99 = 1.5, .drift = 0.2, .min_requests = 1000},
};

static void check_refused(const struct fg_canary_plan *plan, const char *words)
{
	const char *why;

	assert_int_equal(fg_canary_check(plan, &why), -EINVAL);
	assert_non_null(strstr(why, words));
}

static void test_steps(void **state)
{
	struct fg_canary_plan plan = good;
	const char *why;

	(void)state;
	assert_int_equal(fg_canary_check(&plan, &why), 0);
	assert_null(why);
	plan.step_count = 2; /* stays at 25 % */
	assert_int_equal(fg_canary_check(&plan, &why), 0);
	plan.step_count = 0;
	check_refused(&plan, "1 to 16 steps");
	plan.step_count = FG_CANARY_MAX_STEPS + 1;
	check_refused(&plan, "1 to 16 steps");
	for (uint32_t i = 0; i < FG_CANARY_MAX_STEPS; i++)
		plan.steps[i] = i + 1;
	plan.step_count = FG_CANARY_MAX_STEPS;
	assert_int_equal(fg_canary_check(&plan, &why), 0);
	plan.steps[7] = plan.steps[6];
	check_refused(&plan, "upward");
	plan = good;
	plan.steps[2] = 10001;
	check_refused(&plan, "from 0.01 % to 100 %");
	plan.steps[2] = 2499;
	check_refused(&plan, "upward");
	plan = good;
	plan.steps[0] = 0;
	check_refused(&plan, "from 0.01 %");
}

static void test_guards(void **state)
{
	static const double error_rates[] = {-0.1, 1.1, NAN};
	static const double factors[] = {1.05, 0.5, 1001, -2, NAN, INFINITY};
	static const double drifts[] = {-1, 101, NAN};
	struct fg_canary_plan plan;
	const char *why;

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		plan = good;
		plan.guards.error_rate = error_rates[i];
		check_refused(&plan, "error rate");
		plan = good;
		plan.guards.drift = drifts[i];
		check_refused(&plan, "drift");
	}
	for (uint32_t i = 0; i < 6; i++) {
		plan = good;
		plan.guards.p99 = factors[i];
		check_refused(&plan, "p99");
	}
	plan = good;
	memset(&plan.guards, 0, sizeof(plan.guards));
	assert_int_equal(fg_canary_check(&plan, &why), 0);
}

static void test_weight(void **state)
{
	struct fg_canary canary = {.plan = good};

	(void)state;
	assert_int_equal(fg_canary_weight(&canary), 100);
	canary.step = 2;
	assert_int_equal(fg_canary_weight(&canary), 10000);
	canary.step = 3;
	assert_int_equal(fg_canary_weight(&canary), 0);
}

/* Both sides must have answered enough; errors are answers. */
static void test_judged(void **state)
{
	struct fg_comparison seen = {.stable_requests = 1000, .canary_requests = 999};

	(void)state;
	assert_false(fg_canary_judged(&good.guards, &seen));
	seen.canary_errors = 1;
	assert_true(fg_canary_judged(&good.guards, &seen));
	seen.stable_requests = 0;
	assert_false(fg_canary_judged(&good.guards, &seen));
	seen.stable_errors = 1000;
	assert_true(fg_canary_judged(&good.guards, &seen));
}

static bool broken(const struct fg_comparison *seen, char text[192])
{
	return fg_canary_broken(&good.guards, seen, text, 192);
}

static void test_broken(void **state)
{
	const struct fg_comparison well = {.stable_requests = 2000,
					   .canary_requests = 2000,
					   .stable_p99_ns = 100000,
					   .canary_p99_ns = 150000,
					   .drift = 0.2};
	struct fg_comparison seen = well;
	char text[192];

	(void)state;
	assert_false(broken(&seen, text));
	assert_string_equal(text, "");
	/* Twice the bound, but of so few answers that chance may have made it. */
	seen.canary_requests = 1940;
	seen.canary_errors = 60;
	seen.stable_requests = 1980;
	seen.stable_errors = 20;
	assert_false(broken(&seen, text));
	seen.canary_requests *= 10;
	seen.canary_errors *= 10;
	seen.stable_requests *= 10;
	seen.stable_errors *= 10;
	assert_true(broken(&seen, text));
	assert_string_equal(text, "error rate 3 % against 1 %, may be 1 % points more");
	seen = well;
	seen.canary_p99_ns = 150001;
	assert_true(broken(&seen, text));
	assert_string_equal(text, "p99 150.0 us against 100.0 us, may be 1.5 times that");
	seen.stable_p99_ns = 0; /* nothing to compare with */
	assert_false(broken(&seen, text));
	seen = well;
	seen.canary_p99_ns = 900000;
	seen.canary_requests = 999; /* a p99 of so few is none, whatever else is judged */
	seen.canary_errors = 1;
	assert_false(broken(&seen, text));
	/* Two equal sides of 2000 answers each show up to 0.034. */
	seen = well;
	seen.drift = 0.233;
	assert_false(broken(&seen, text));
	seen.drift = 0.235;
	assert_true(broken(&seen, text));
	assert_string_equal(text, "scores drift: population stability index 0.235, bound 0.2");
	/* Too few answers prove nothing. */
	seen.canary_requests = 999;
	assert_false(broken(&seen, text));
	assert_string_equal(text, "");
	/* A short buffer is enough. */
	seen.canary_requests = 2000;
	assert_true(fg_canary_broken(&good.guards, &seen, text, 8));
	assert_string_equal(text, "scores ");
}

static void test_names(void **state)
{
	struct fg_canary canary = {0};
	struct fg_shadow shadow = {0};

	(void)state;
	for (uint32_t phase = 0; phase <= FG_CANARY_FAILED + 1; phase++) {
		canary.phase = phase;
		assert_true(fg_canary_active(&canary) ==
			    (phase >= FG_CANARY_STARTING && phase <= FG_CANARY_PAUSED));
	}
	for (uint32_t phase = 0; phase <= FG_SHADOW_ENDED; phase++) {
		shadow.phase = phase;
		assert_true(fg_shadow_active(&shadow) ==
			    (phase == FG_SHADOW_STARTING || phase == FG_SHADOW_RUNNING));
	}
	assert_string_equal(fg_canary_phase_name(FG_CANARY_BROKEN), "broken");
	assert_string_equal(fg_canary_phase_name(FG_CANARY_FAILED), "failed");
	assert_string_equal(fg_canary_phase_name(99), "?");
	assert_string_equal(fg_shadow_phase_name(FG_SHADOW_RUNNING), "running");
	assert_string_equal(fg_shadow_phase_name(99), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),  cmocka_unit_test(test_guards),
		cmocka_unit_test(test_weight), cmocka_unit_test(test_judged),
		cmocka_unit_test(test_broken), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
