/*
 * cmocka.h: as much of cmocka as the kernel tests use, for tests/check_neon.sh: Debian has cmocka
 * for this machine's architecture only. A failed assertion ends the program, and with it the run.
 */
#ifndef FG_TESTS_AARCH64_CMOCKA_H
#define FG_TESTS_AARCH64_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
	const char *name;
	void (*run)(void **state);
};

#define cmocka_unit_test(test)                                                                     \
	{                                                                                          \
#test, test                                                                        \
	}

#define fail_msg(...)                                                                              \
	do {                                                                                       \
		printf("not ok - %s:%d: ", __FILE__, __LINE__);                                    \
		printf(__VA_ARGS__);                                                               \
		printf("\n");                                                                      \
		exit(1);                                                                           \
	} while (0)

#define assert_true(condition)                                                                     \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail_msg("not so: %s", #condition);                                        \
	} while (0)

#define assert_false(condition)		assert_true(!(condition))
#define assert_int_equal(a, b)		assert_true((uintmax_t)(a) == (uintmax_t)(b))
#define assert_int_not_equal(a, b)	assert_true((uintmax_t)(a) != (uintmax_t)(b))
#define assert_ptr_equal(a, b)		assert_true((a) == (b))
#define assert_ptr_not_equal(a, b)	assert_true((a) != (b))
#define assert_null(a)			assert_true(!(a))
#define assert_non_null(a)		assert_true(a)
#define assert_string_equal(a, b)	assert_true(strcmp(a, b) == 0)
#define assert_memory_equal(a, b, size) assert_true(memcmp(a, b, size) == 0)

/* Prints TAP. */
static inline int fg_run_tests(const struct CMUnitTest *tests, size_t count,
			       int (*set_up)(void **state))
{
	void *group = NULL;

	if (set_up && set_up(&group))
		return 1;
	printf("1..%zu\n", count);
	for (size_t i = 0; i < count; i++) {
		void *state = NULL;

		fflush(stdout);
		tests[i].run(&state);
		printf("ok %zu - %s\n", i + 1, tests[i].name);
	}
	return 0;
}

#define cmocka_run_group_tests(tests, set_up, tear_down)                                           \
	fg_run_tests(tests, sizeof(tests) / sizeof((tests)[0]), set_up)

#endif
