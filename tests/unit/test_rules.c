/* Which rules are a model's, and which versions they name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "sched/rules.h"
#include "sched/wanted.h"

static void test_find(void **state)
{
	static struct fg_rules rules;

	(void)state;
	assert_null(fg_rules_find(&rules, "digits"));
	rules.model_count = 2;
	strcpy(rules.models[0].name, "digits");
	strcpy(rules.models[1].name, "digits2");
	assert_ptr_equal(fg_rules_find(&rules, "digits"), &rules.models[0]);
	assert_ptr_equal(fg_rules_find(&rules, "digits2"), &rules.models[1]);
	assert_null(fg_rules_find(&rules, "digit"));
	/* With a repository all others have the defaults, and these still their own. */
	strcpy(rules.repository, "/models");
	assert_ptr_equal(fg_rules_find(&rules, "digit"), &rules.defaults);
	assert_ptr_equal(fg_rules_find(&rules, "digits"), &rules.models[0]);
}

static void test_manual(void **state)
{
	static struct fg_rules rules;

	(void)state;
	assert_false(fg_rules_manual(&rules, "digits"));
	rules.model_count = 1;
	strcpy(rules.models[0].name, "digits");
	assert_false(fg_rules_manual(&rules, "digits"));
	rules.models[0].policy = FG_RULES_MANUAL;
	assert_true(fg_rules_manual(&rules, "digits"));
	assert_false(fg_rules_manual(&rules, "fraud"));
	strcpy(rules.repository, "/models");
	assert_false(fg_rules_manual(&rules, "fraud"));
	rules.defaults.policy = FG_RULES_MANUAL;
	assert_true(fg_rules_manual(&rules, "fraud"));
}

static void test_named(void **state)
{
	struct fg_rules_model rule = {.count = 2, .versions = {3, 7, 9}};

	(void)state;
	for (rule.policy = FG_RULES_LATEST; rule.policy < FG_RULES_SPECIFIC; rule.policy++)
		assert_true(fg_wanted_named(&rule, 4));
	assert_true(fg_wanted_named(&rule, 3));
	assert_true(fg_wanted_named(&rule, 7));
	assert_false(fg_wanted_named(&rule, 9));
	assert_false(fg_wanted_named(&rule, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_manual),
		cmocka_unit_test(test_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
