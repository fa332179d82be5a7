/* What control believes of what its scout says: nothing that the rest of it could stumble over. The
 * scout itself, and how it hangs: tests/e2e/test_store.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "userspace/daemon/models_config.h"
#include "userspace/daemon/scout.h"

static struct fg_findings *found;
static struct fg_scout_config *read_one;

static void add(const char *name, uint32_t count)
{
	struct fg_store_model *model = &found->store.models[found->store.count++];
	uint32_t i;

	strcpy(model->name, name);
	model->count = count;
	for (i = 0; i < count; i++) {
		model->versions[i].version = i + 1;
		snprintf(model->versions[i].directory, sizeof(model->versions[i].directory), "%03u",
			 i + 1);
	}
}

static int set_up(void **state)
{
	static const char text[] = "models:\n- name: a\n  path: /a\n  policy: specific\n"
				   "  versions: [1, 2]\n  labels:\n  - {name: stable, version: 1}\n"
				   "- name: b\n  path: /b\n";

	(void)state;
	found = calloc(1, sizeof(*found));
	read_one = calloc(1, sizeof(*read_one));
	add("digits", 3);
	add("empty", 0);
	add("full", FG_STORE_MAX_VERSIONS);
	read_one->read = 1;
	fg_models_config_from_flags(&read_one->rules, "/models", FG_RULES_LATEST);
	return fg_models_config_parse(&read_one->rules, "text", text, sizeof(text) - 1,
				      &read_one->error);
}

static int tear_down(void **state)
{
	(void)state;
	free(found);
	free(read_one);
	return 0;
}

/* Spoils one thing, sees it refused, and mends it. */
#define REFUSED(check, thing, value)                                                               \
	do {                                                                                       \
		__typeof__(thing) before = thing;                                                  \
		thing = value;                                                                     \
		assert_false(check);                                                               \
		thing = before;                                                                    \
		assert_true(check);                                                                \
	} while (0)

static void test_findings(void **state)
{
	struct fg_store_model *digits = &found->store.models[0];
	const unsigned char no_bool = 2;
	bool *complete = &digits->versions[1].complete;

	(void)state;
#define CHECK fg_scout_check_findings(found)
	assert_true(CHECK);
	REFUSED(CHECK, found->store.count, FG_ROLLOUT_MAX_MODELS + 1);
	REFUSED(CHECK, found->store.count, 4); /* one without a name */
	REFUSED(CHECK, digits->count, FG_STORE_MAX_VERSIONS + 1);
	REFUSED(CHECK, digits->count, 4); /* one that is 0 */
	REFUSED(CHECK, digits->name[1], '/');
	REFUSED(CHECK, found->remarks.count, FG_REMARKS_MAX + 1);
	found->remarks.count = 2;
	REFUSED(CHECK, found->remarks.list[1].model[0], '/');
	memset(found->remarks.list[0].reason, 'x', sizeof(found->remarks.list[0].reason));
	assert_false(CHECK);
	memset(&found->remarks, 0, sizeof(found->remarks));
	REFUSED(CHECK, digits->versions[1].version, 3); /* not upward, and not what its name says */
	REFUSED(CHECK, digits->versions[1].directory[0], '/');
	REFUSED(CHECK, digits->versions[1].directory[2], '1');
	memset(digits->versions[2].directory, '0', sizeof(digits->versions[2].directory));
	assert_false(CHECK); /* no end */
	strcpy(digits->versions[2].directory, "3");
	memcpy(complete, &no_bool, 1);
	assert_false(CHECK);
	*complete = true;
	strcpy(found->store.models[1].name, "digits");
	assert_false(CHECK); /* twice */
	strcpy(found->store.models[1].name, "empty");
	memset(digits->name, 'x', sizeof(digits->name));
	assert_false(CHECK);
#undef CHECK
}

static void test_rules(void **state)
{
	struct fg_rules *rules = &read_one->rules;

	(void)state;
#define CHECK fg_scout_check_config(read_one)
	assert_true(CHECK);
	REFUSED(CHECK, rules->model_count, FG_RULES_MAX_MODELS + 1);
	REFUSED(CHECK, rules->model_count, 3);
	REFUSED(CHECK, rules->defaults.path[0], '/');
	REFUSED(CHECK, rules->defaults.policy, 4);
	REFUSED(CHECK, rules->models[0].count, FG_RULES_MAX_VERSIONS + 1);
	REFUSED(CHECK, rules->models[0].count, 0);
	REFUSED(CHECK, rules->models[0].label_count, FG_RULES_MAX_LABELS + 1);
	REFUSED(CHECK, rules->models[0].path[0], 'a');
	REFUSED(CHECK, rules->models[0].path[1], '\n');
	REFUSED(CHECK, rules->models[1].name[0], 'a'); /* twice */
	REFUSED(CHECK, rules->models[1].name[0], '.');
	memset(rules->models[0].labels[3].name, 'x', FG_RULES_LABEL_BYTES);
	assert_false(CHECK);
	memset(rules->models[0].labels[3].name, 0, FG_RULES_LABEL_BYTES);
	memset(rules->repository, '/', sizeof(rules->repository));
	assert_false(CHECK);
	/* With an error the rules are not looked at; the error is. */
	strcpy(read_one->error.text, "models.yaml:1:1: no");
	assert_true(CHECK);
	memset(read_one->error.text, 'x', sizeof(read_one->error.text));
	assert_false(CHECK);
#undef CHECK
}

#define WITH(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_findings),
		WITH(test_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
