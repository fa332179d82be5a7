/* The models' configuration in YAML: what good files mean, and what is said of bad ones, word for
 * word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "userspace/daemon/models_config.h"

static struct fg_rules rules;
static struct fg_error error;

static int parse(const char *text, const char *repository, enum fg_rules_policy policy)
{
	error.text[0] = '\0';
	fg_models_config_from_flags(&rules, repository, policy);
	return fg_models_config_parse(&rules, "m", text, strlen(text), &error);
}

static void parse_well(const char *text)
{
	if (parse(text, "", FG_RULES_LATEST))
		fail_msg("%s\n%s", error.text, text);
}

/* ---- what good files mean ---- */

static void test_models(void **state)
{
	const struct fg_rules_model *model = rules.models;

	(void)state;
	parse_well(
		"models:\n"
		"  - name: fraud\n"
		"    path: /srv/fraud/\n"
		"    policy: latest\n"
		"    count: 2\n"
		"    labels: [{name: stable, version: 3}, {version: 004, name: canary}]\n"
		"  - {name: risk, path: 'file:///srv/risk', policy: specific, versions: [3, 1]}\n"
		"  - {name: all, path: /srv/all, policy: all}\n"
		"  - {name: '7', path: \"/srv/a b\", policy: manual}\n"
		"  - name: last\n"
		"    path: /last\n");
	assert_int_equal(rules.model_count, 5);
	assert_string_equal(model[0].name, "fraud");
	assert_string_equal(model[0].path, "/srv/fraud");
	assert_int_equal(model[0].policy, FG_RULES_LATEST);
	assert_int_equal(model[0].count, 2);
	assert_int_equal(model[0].label_count, 2);
	assert_string_equal(model[0].labels[1].name, "canary");
	assert_int_equal(model[0].labels[1].version, 4);
	assert_string_equal(model[1].path, "/srv/risk");
	assert_int_equal(model[1].policy, FG_RULES_SPECIFIC);
	assert_int_equal(model[1].count, 2);
	assert_int_equal(model[1].versions[0], 3);
	assert_int_equal(model[2].policy, FG_RULES_ALL);
	assert_string_equal(model[3].name, "7");
	assert_string_equal(model[3].path, "/srv/a b");
	assert_int_equal(model[3].policy, FG_RULES_MANUAL);
	assert_int_equal(model[4].policy, FG_RULES_LATEST);
	assert_int_equal(model[4].count, 1);
	assert_string_equal(rules.repository, "");
}

static void test_repository(void **state)
{
	(void)state;
	parse_well("repository: /srv/models/\n");
	assert_string_equal(rules.repository, "/srv/models");
	assert_int_equal(rules.model_count, 0);
	assert_int_equal(rules.defaults.policy, FG_RULES_LATEST);
	/* Models inherit the defaults and lie in the repository. */
	parse_well("---\n# models first\nmodels: [{name: a}, {name: b, policy: latest}]\n"
		   "defaults: {policy: manual}\nrepository: /srv/models\n...\n");
	assert_int_equal(rules.defaults.policy, FG_RULES_MANUAL);
	assert_int_equal(rules.defaults.count, 0);
	assert_string_equal(rules.models[0].path, "/srv/models/a");
	assert_int_equal(rules.models[0].policy, FG_RULES_MANUAL);
	assert_int_equal(rules.models[1].policy, FG_RULES_LATEST);
	assert_int_equal(rules.models[1].count, 1);
	parse_well("repository: /srv/models\ndefaults:\n  count: 3\n");
	assert_int_equal(rules.defaults.count, 3);
}

/* What the options said counts where the file says nothing. */
static void test_flags(void **state)
{
	(void)state;
	assert_int_equal(parse("models: [{name: a}]", "/flag", FG_RULES_MANUAL), 0);
	assert_string_equal(rules.repository, "/flag");
	assert_string_equal(rules.models[0].path, "/flag/a");
	assert_int_equal(rules.models[0].policy, FG_RULES_MANUAL);
	assert_int_equal(parse("{repository: /file, models: [{name: a}], defaults: {policy: all}}",
			       "/flag", FG_RULES_MANUAL),
			 0);
	assert_string_equal(rules.repository, "/file");
	assert_string_equal(rules.models[0].path, "/file/a");
	assert_int_equal(rules.models[0].policy, FG_RULES_ALL);
	assert_int_equal(parse("models: []", "/flag", FG_RULES_LATEST), 0);
	assert_int_equal(rules.model_count, 0);
}

/* ---- what is said of bad ones ---- */

static const struct {
	const char *text, *error;
} bad[] = {
	{"---\n", "m: Expecting MAPPING, got event: SCALAR"},
	{"models: []", "m: neither models nor a repository"},
	{"- a\n", "m: Expecting MAPPING, got event: SEQUENCE_START"},
	{"models:\n  - name: a\n   x: b\n", "m:3:4: no YAML: did not find expected '-' indicator"},
	{"models: \"a\n", "m:2:1: no YAML: found unexpected end of stream"},
	{"models: \x01\n", "m:1:1: no YAML: control characters are not allowed"},
	{"repository: /a\n---\nrepository: /b\n", "m:3:1: a second document: one is read"},
	{"models: {name: a}\n",
	 "m: near line 1: Expecting SEQUENCE, got event: MAPPING_START as value of models"},
	{"models:\n", "m: near line 1: Expecting SEQUENCE, got event: SCALAR as value of models"},
	{"modles: []\n", "m: near line 1: Unexpected key: modles"},
	{"models:\n  - name: a\n    polcy: all\n", "m: near line 2: Unexpected key: polcy"},
	{"models:\n  - path: /a\n", "m: near line 2: Missing required mapping field: name"},
	{"models:\n  - name: a\n    name: b\n", "m: near line 2: Mapping field already seen: name"},
	{"models:\n  - name: [a]\n",
	 "m: near line 2: Expecting STRING, got event: SEQUENCE_START as value of name"},
	{"models:\n  - name: a\n    versions: 3\n",
	 "m: near line 3: Expecting SEQUENCE, got event: SCALAR as value of versions"},
	{"models: &x\n  - name: a\n    labels: *x\n", "m: near line 3: YAML alias unsupported"},
	{"models:\n  - name: a\n", "m:2:5: model \"a\" has no path: say where its versions lie"},
	{"models:\n  - name: a b\n", "m:2:11: \"a b\" is no model name: 1 to 63 of A-Z a-z 0-9 _ . "
				     "-, the first of them no dot"},
	{"models:\n  - name:\n", "m:2:10: \"\" is no model name: 1 to 63 of A-Z a-z 0-9 _ . -, the "
				 "first of them no dot"},
	{"repository: models\n", "m:1:13: \"models\" is no absolute path: begin it with / or "
				 "file:///"},
	{"models:\n  - name: a\n    path: gs://b/a\n",
	 "m:3:11: \"gs://b/a\" is not on this host, and flipgate reads local directories only: "
	 "mount it, or copy its versions here (flipgate publish)"},
	{"models:\n  - name: a\n    path: /a\n    policy: newest\n",
	 "m:4:13: \"newest\" is no policy: latest, manual, all or specific"},
	{"models:\n  - name: a\n    path: /a\n    count: 0\n",
	 "m:4:12: \"0\" is no count of versions"},
	{"models:\n  - name: a\n    path: /a\n    count: two\n",
	 "m:4:12: \"two\" is no count of versions"},
	{"models:\n  - name: a\n    path: /a\n    count: 33\n",
	 "m:4:12: the latest 33 versions: 1 to 32, as many as are served at a time"},
	{"models:\n  - name: a\n    path: /a\n    policy: all\n    count: 2\n",
	 "m:5:12: count is how many versions policy latest serves: the policy here is another "
	 "one"},
	{"models:\n  - name: a\n    path: /a\n    versions: [1]\n",
	 "m:4:15: versions need policy: specific"},
	{"models:\n  - name: a\n    path: /a\n    policy: specific\n",
	 "m:2:5: policy specific names no version: versions: [1]"},
	{"models:\n  - name: a\n    path: /a\n    policy: specific\n    versions: []\n",
	 "m:5:15: policy specific names no version: versions: [1]"},
	{"models:\n  - name: a\n    path: /a\n    policy: specific\n    versions: [1, -2]\n",
	 "m:5:19: \"-2\" is no version: 1 to 2^63-1"},
	{"models:\n  - name: a\n    path: /a\n    policy: specific\n    versions:\n    - 1\n    - "
	 "0\n",
	 "m:7:7: \"0\" is no version: 1 to 2^63-1"},
	{"models:\n  - name: a\n    path: /a\n    labels:\n    - name: x\n      version: latest\n",
	 "m:6:16: \"latest\" is no version: 1 to 2^63-1"},
	{"models:\n  - name: a\n    path: /a\n    labels:\n    - {name: x}\n",
	 "m: near line 5: Missing required mapping field: version"},
	{"models:\n  - name: a\n    path: /a\n    labels:\n    - {name: 'x y', version: 1}\n",
	 "m:5:7: \"x y\" is no label: 1 to 23 of A-Z a-z 0-9 _ . -"},
	{"models:\n  - name: a\n    path: /a\n    labels:\n    - {name: x, version: 1}\n"
	 "    - {name: x, version: 2}\n",
	 "m:6:7: label \"x\" stands twice, for version 1 before"},
	{"models:\n  - {name: a, path: /a}\n\n  - {name: a, path: /b}\n",
	 "m:4:5: model \"a\" stands twice: one entry for each name"},
	{"repository: /a\ndefaults:\n  policy: specific\n",
	 "m:3:11: specific versions are a model's own: list it in models"},
	{"repository: /a\ndefaults:\n  labels: []\n", "m: near line 3: Unexpected key: labels"},
};

static void test_bad(void **state)
{
	size_t i, wrong = 0;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (parse(bad[i].text, "", FG_RULES_LATEST) == -EINVAL &&
		    !strcmp(error.text, bad[i].error))
			continue;
		print_error("%s\n  says    %s\n  not     %s\n", bad[i].text, error.text,
			    bad[i].error);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void test_too_many(void **state)
{
	char text[4096] = "models:\n";
	int i;

	(void)state;
	for (i = 0; i <= FG_RULES_MAX_MODELS; i++)
		sprintf(text + strlen(text), "- {name: m%d, path: /m%d}\n", i, i);
	assert_int_equal(parse(text, "", FG_RULES_LATEST), -EINVAL);
	assert_string_equal(error.text, "m:34:3: more than 32 models");
	strcpy(text, "models:\n- name: a\n  path: /a\n  policy: specific\n  versions:\n");
	for (i = 1; i <= FG_RULES_MAX_VERSIONS + 1; i++)
		sprintf(text + strlen(text), "  - %d\n", i);
	assert_int_equal(parse(text, "", FG_RULES_LATEST), -EINVAL);
	assert_string_equal(error.text, "m:22:5: more than 16 versions of one model");
	strcpy(text, "models:\n- name: a\n  path: /a\n  labels:\n");
	for (i = 1; i <= FG_RULES_MAX_LABELS + 1; i++)
		sprintf(text + strlen(text), "  - {name: l%d, version: %d}\n", i, i);
	assert_int_equal(parse(text, "", FG_RULES_LATEST), -EINVAL);
	assert_string_equal(error.text, "m:9:5: more than 4 labels of one model");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_models),	 cmocka_unit_test(test_repository),
		cmocka_unit_test(test_flags),	 cmocka_unit_test(test_bad),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
