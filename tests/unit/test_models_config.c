/* The models' configuration in TensorFlow Serving's format: what good files mean, and what is said
 * of bad ones, word for word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "userspace/daemon/models_config.h"

static struct fg_rules rules, twin;
static struct fg_error error;

static int parse(const char *text)
{
	error.text[0] = '\0';
	fg_models_config_from_flags(&rules, "", FG_RULES_LATEST);
	return fg_models_config_parse(&rules, "m", text, strlen(text), &error);
}

static void parse_well(const char *text)
{
	if (parse(text))
		fail_msg("%s\n%s", error.text, text);
}

#define CONFIG(text) "model_config_list { config { " text " } }"
#define MODEL(text)  CONFIG("name: 'a' base_path: '/a' " text)

/* ---- what good files mean ---- */

static void assert_fraud(const struct fg_rules_model *model)
{
	assert_string_equal(model->name, "fraud");
	assert_string_equal(model->path, "/srv/models/fraud");
	assert_int_equal(model->policy, FG_RULES_SPECIFIC);
	assert_int_equal(model->count, 2);
	assert_int_equal(model->versions[0], 42);
	assert_int_equal(model->versions[1], 43);
	assert_int_equal(model->label_count, 2);
	assert_string_equal(model->labels[0].name, "stable");
	assert_int_equal(model->labels[0].version, 42);
	assert_string_equal(model->labels[1].name, "canary");
	assert_int_equal(model->labels[1].version, 43);
}

static void test_examples(void **state)
{
	(void)state;
	fg_models_config_from_flags(&rules, "", FG_RULES_LATEST);
	assert_int_equal(fg_models_config_load(&rules, "docs/examples/models.config", &error), 0);
	assert_int_equal(rules.model_count, 3);
	assert_fraud(&rules.models[0]);
	assert_string_equal(rules.models[1].name, "churn");
	assert_int_equal(rules.models[1].policy, FG_RULES_LATEST);
	assert_int_equal(rules.models[1].count, 2);
	assert_string_equal(rules.models[2].path, "/srv/models/digits");
	assert_int_equal(rules.models[2].policy, FG_RULES_LATEST);
	assert_int_equal(rules.models[2].count, 1);
	/* Both formats say the same: every byte of it. */
	fg_models_config_from_flags(&twin, "", FG_RULES_LATEST);
	assert_int_equal(fg_models_config_load(&twin, "docs/examples/models.yaml", &error), 0);
	assert_memory_equal(&rules, &twin, sizeof(rules));
}

static void test_the_smallest(void **state)
{
	(void)state;
	parse_well("model_config_list{config{name:\"a\"base_path:\"/a\"}}");
	assert_int_equal(rules.model_count, 1);
	assert_string_equal(rules.models[0].name, "a");
	assert_string_equal(rules.models[0].path, "/a");
	assert_int_equal(rules.models[0].count, 1);
	assert_string_equal(rules.repository, "");
}

/* One model, written in all the ways that the text format allows. */
static void test_spellings(void **state)
{
	static const char *const texts[] = {
		"model_config_list: { config: { name: 'a', base_path: '/x/y'; } }",
		"model_config_list < config < name: 'a' base_path: '/x/y' > >",
		"model_config_list: < config { base_path: '/x/y' name: 'a' } >;",
		"model_config_list { config [ { name: 'a' base_path: '/x/y' } ] }",
		"model_config_list { config: [ < name: 'a' base_path: '/x/y' > ], }",
		"# all\n\nmodel_config_list # the\n: # models\n{ config\n{ name\n: 'a' # b\n"
		"base_path: '/x/y' }\n}\n# end",
		CONFIG("name: 'a' base_path: '/x'  \"/\"\n'y'"),
		CONFIG("name: '\\x61' base_path: \"\\057x\\x2fy\""),
		CONFIG("name: '\\u0061' base_path: \"\\U0000002fx/\\x79\""),
		CONFIG("name: 'a' base_path: 'file:///x/y'"),
		CONFIG("name: 'a' base_path: '/x/y///'"),
		CONFIG("name: 'a' base_path: '/x/y' model_platform: \"tensorflow\""),
		CONFIG("name: 'a' base_path: '/x/y' model_type: TENSORFLOW"),
		CONFIG("name: 'a' base_path: '/x/y' model_type: 1"),
		CONFIG("name: 'a' base_path: '/x/y' model_version_policy {}"),
		CONFIG("name: 'a' base_path: '/x/y' model_version_policy { latest {} }"),
		CONFIG("name: 'a' base_path: '/x/y' model_version_policy: { latest: "
		       "{ num_versions: 0 } }"),
		CONFIG("name: 'a' base_path: '/x/y' model_version_policy { latest { "
		       "num_versions: 0x1 } }"),
		CONFIG("name: 'a' base_path: '/x/y' model_version_policy { latest { "
		       "num_versions: -0 } } version_labels: []"),
		CONFIG("name: 'a' base_path: '/x/y' logging_config { log_collector_config { "
		       "type: 'x' 'y' filename_prefix: \"{\" } sampling_config: < "
		       "sampling_rate: -1.5e-3 attributes: [1, 2] > }"),
		"\r\n\t\v\f model_config_list{\r\nconfig{name:'a'\r\nbase_path:'/x/y'}}\r\n",
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		parse_well(texts[i]);
		if (!i)
			twin = rules;
		assert_string_equal(rules.models[0].name, "a");
		assert_string_equal(rules.models[0].path, "/x/y");
		assert_memory_equal(&rules, &twin, sizeof(rules));
	}
}

static void test_policies(void **state)
{
	const struct fg_rules_model *model = &rules.models[0];

	(void)state;
	parse_well(MODEL("model_version_policy { all {} }"));
	assert_int_equal(model->policy, FG_RULES_ALL);
	assert_int_equal(model->count, 0);
	parse_well(MODEL("model_version_policy { latest { num_versions: 32 } }"));
	assert_int_equal(model->policy, FG_RULES_LATEST);
	assert_int_equal(model->count, 32);
	parse_well(MODEL("model_version_policy { specific { versions: [1, 017, 0x1F] versions: "
			 "9223372036854775807 versions: 1 } }"));
	assert_int_equal(model->policy, FG_RULES_SPECIFIC);
	assert_int_equal(model->count, 4);
	assert_int_equal(model->versions[0], 1);
	assert_int_equal(model->versions[1], 15);
	assert_int_equal(model->versions[2], 31);
	assert_true(model->versions[3] == INT64_MAX);
	parse_well(MODEL("version_labels: [ { value: 7 key: 'x' }, < key: 'y', value: 7 > ]"));
	assert_int_equal(model->label_count, 2);
	assert_string_equal(model->labels[1].name, "y");
	assert_int_equal(model->labels[1].version, 7);
}

/* --repository and --policy are what the file does not say. */
static void test_flags(void **state)
{
	static struct fg_config config;
	char path[] = "/tmp/fgt-models-XXXXXX";
	const char *text = "model_config_list { config { name: 'a' } config { name: 'b' "
			   "base_path: '/b' model_version_policy { all {} } } }";
	int fd = mkstemp(path);

	(void)state;
	strcpy(config.repository, "/srv/models");
	config.policy = FG_POLICY_MANUAL;
	assert_int_equal(fg_models_config_read(&rules, &config, &error), 0);
	assert_string_equal(rules.repository, "/srv/models");
	assert_int_equal(rules.defaults.policy, FG_RULES_MANUAL);
	assert_int_equal(rules.model_count, 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	strcpy(config.models_config, path);
	assert_int_equal(fg_models_config_read(&rules, &config, &error), 0);
	unlink(path);
	assert_string_equal(rules.repository, "/srv/models");
	assert_int_equal(rules.model_count, 2);
	assert_string_equal(rules.models[0].path, "/srv/models/a");
	assert_int_equal(rules.models[0].policy, FG_RULES_MANUAL);
	assert_string_equal(rules.models[1].path, "/b");
	assert_int_equal(rules.models[1].policy, FG_RULES_ALL);
	config.policy = FG_POLICY_LATEST;
	config.models_config[0] = '\0';
	assert_int_equal(fg_models_config_read(&rules, &config, &error), 0);
	assert_int_equal(rules.defaults.policy, FG_RULES_LATEST);
	assert_int_equal(rules.defaults.count, 1);
}

/* ---- what is said of bad ones ---- */

struct bad {
	const char *text, *error;
};

static const struct bad bad_words[] = {
	{"", "m: the file says nothing: see docs/configuration.md"},
	{"# nothing\n \t\n# more", "m: the file says nothing: see docs/configuration.md"},
	{"model_config_list {}", "m: neither models nor a repository"},
	{"model_config_list", "m:1:18: the file ends here, { is missing"},
	{"model_config_list {\n  config {\n", "m:3:1: the file ends here, } is missing"},
	{"model_config_list { config { name 'a' } }", "m:1:35: : is missing before 'a'"},
	{"model_config_list { config { name: } }", "m:1:36: a text in quotes is missing before }"},
	{"model_config_list { config { name: a } }",
	 "m:1:36: a text in quotes is missing before a"},
	{"model_config_list { config { name: ['a'] } }",
	 "m:1:36: a text in quotes is missing before ["},
	{"model_config_list { config { name: 'a } }",
	 "m:1:36: a text that has no closing ' in its line"},
	{"model_config_list { config { name: \"a\nb\" } }",
	 "m:1:36: a text that has no closing \" in its line"},
	{"model_config_list { config { name: '\\q' } }",
	 "m:1:36: \"\\q\" in a text is no character"},
	{"model_config_list { config { name: 'a\\0' } }",
	 "m:1:36: \"\\0\" in a text is no character"},
	{"model_config_list { config { name: '\\xg' } }",
	 "m:1:36: \"\\x\" in a text is no character"},
	{"model_config_list { config { name: '\\400' } }",
	 "m:1:36: \"\\400\" in a text is no character"},
	{"model_config_list { config { name: '\\u12' } }",
	 "m:1:36: \"\\u12\" in a text is no character"},
	{"model_config_list { config { name: '\\U00110000' } }",
	 "m:1:36: \"\\U00110000\" in a text is no character"},
	{"model_config_list { config { = } }", "m:1:30: '=' (byte 0x3d) means nothing here"},
	{"model_config_list { config { \x01 } }", "m:1:30: '?' (byte 0x01) means nothing here"},
	{"model_config_list { config > }", "m:1:28: { is missing before >"},
	{"model_config_list < config { name: 'a' base_path: '/a' } }",
	 "m:1:58: a field's name is missing before }"},
	{"model_config_list { config { > } }", "m:1:30: a field's name is missing before >"},
	{"model_config_list < config { } }", "m:1:21: this model has no name"},
	{"model_config_list { config { name: 'a' base_path: '/a' } } }",
	 "m:1:60: a field's name is missing before }"},
	{"model_config_list { config { nam: 'a' } }",
	 "m:1:30: no field nam here; known are name, base_path, model_platform, model_type, "
	 "model_version_policy, version_labels, logging_config"},
	{"model_config_list { [x.y] { } }", "m:1:21: a field's name is missing before ["},
	{"model_config_lst {",
	 "m:1:1: no field model_config_lst here; known are model_config_list"},
	{"custom_model_config { }",
	 "m:1:1: custom_model_config is not supported: list the models in model_config_list"},
	{MODEL("") " model_config_list {}", "m:1:61: model_config_list stands twice"},
	{MODEL("name: 'b'"), "m:1:56: name stands twice"},
	{MODEL("model_version_policy { all {} latest {} }"),
	 "m:1:86: all and latest: only one of them"},
	{MODEL("model_version_policy { latest_once {} }"),
	 "m:1:79: latest_once is not supported: leave it out and start flipgated with --policy "
	 "manual"},
	{MODEL("model_version_policy { all { x: 1 } }"), "m:1:85: no field x here"},
	{MODEL("model_platform tensorflow"), "m:1:71: : is missing before tensorflow"},
	{MODEL("logging_config { [ } }"), "m:1:75: ] is missing before }"},
	{MODEL("logging_config:"), "m:1:72: a value is missing before }"},
	{MODEL("version_labels: [ { key: 'x' value: 1 } { } ]"),
	 "m:1:96: ] or , is missing before {"},
};

static const struct bad bad_values[] = {
	{CONFIG("base_path: '/a'"), "m:1:21: this model has no name"},
	{CONFIG("name: 'a'"), "m:1:21: model \"a\" has no path: say where its versions lie"},
	{CONFIG("name: ''"),
	 "m:1:36: \"\" is no model name: 1 to 63 of A-Z a-z 0-9 _ . -, the first of them no dot"},
	{CONFIG("name: 'a/b\\n'"), "m:1:36: \"a/b?\" is no model name: 1 to 63 of A-Z a-z 0-9 _ . "
				   "-, the first of them no dot"},
	{CONFIG("name: 'a' base_path: 'models'"),
	 "m:1:51: \"models\" is no absolute path: begin it with / or file:///"},
	{CONFIG("name: 'a' base_path: 'file://host/a'"),
	 "m:1:51: \"host/a\" is no absolute path: begin it with / or file:///"},
	{CONFIG("name: 'a' base_path: ''"),
	 "m:1:51: \"\" is no absolute path: begin it with / or file:///"},
	{CONFIG("name: 'a' base_path: 'gs://bucket/a'"),
	 "m:1:51: \"gs://bucket/a\" is not on this host, and flipgate reads local directories "
	 "only: mount it, or copy its versions here (flipgate publish)"},
	{CONFIG("name: 'a' base_path: 's3://b'"),
	 "m:1:51: \"s3://b\" is not on this host, and flipgate reads local directories only: "
	 "mount it, or copy its versions here (flipgate publish)"},
	{CONFIG("name: 'a' base_path: '/a\\n'"),
	 "m:1:51: \"/a?\" is not UTF-8, or holds control characters"},
	{CONFIG("name: 'a' base_path: '/\\xff'"),
	 "m:1:51: \"/?\" is not UTF-8, or holds control characters"},
	{CONFIG("name: 'a' base_path: '/\\ud800'"),
	 "m:1:51: \"/???\" is not UTF-8, or holds control characters"},
	{MODEL("model_version_policy { latest { num_versions: 33 } }"),
	 "m:1:102: the latest 33 versions: 1 to 32, as many as are served at a time"},
	{MODEL("model_version_policy { latest { num_versions: 1.5 } }"),
	 "m:1:102: 1.5 is no whole number"},
	{MODEL("model_version_policy { latest { num_versions: '1' } }"),
	 "m:1:102: a number is missing before '1'"},
	{MODEL("model_version_policy { latest { num_versions: [1] } }"),
	 "m:1:102: a number is missing before ["},
	{MODEL("model_version_policy { specific {} }"),
	 "m:1:79: specific names no version: versions: 1"},
	{MODEL("model_version_policy { specific { versions: -3 } }"),
	 "m:1:101: -3: no number here may be negative"},
	{MODEL("model_version_policy { specific { versions: 0 } }"),
	 "m:1:100: version 0: versions are 1 to 2^63-1"},
	{MODEL("model_version_policy { specific { versions: 9223372036854775808 } }"),
	 "m:1:100: version 9223372036854775808: versions are 1 to 2^63-1"},
	{MODEL("model_version_policy { specific { versions: 18446744073709551616 } }"),
	 "m:1:100: 18446744073709551616 is beyond 2^64-1"},
	{MODEL("model_version_policy { specific { versions: 08 } }"),
	 "m:1:100: 08 is no whole number (0 begins an octal one)"},
	{MODEL("model_version_policy { specific { versions: 10bar: 1 } }"),
	 "m:1:100: 10bar is no whole number"},
	{MODEL("model_version_policy { specific { versions: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,"
	       "15,16,17] } }"),
	 "m:1:140: more than 16 versions of one model"},
	{MODEL("version_labels { key: '' value: 1 }"),
	 "m:1:56: \"\" is no label: 1 to 23 of A-Z a-z 0-9 _ . -"},
	{MODEL("version_labels { value: 1 }"),
	 "m:1:56: \"\" is no label: 1 to 23 of A-Z a-z 0-9 _ . -"},
	{MODEL("version_labels { key: 'a123456789b123456789c123' value: 1 }"),
	 "m:1:56: \"a123456789b123456789c123\" is no label: 1 to 23 of A-Z a-z 0-9 _ . -"},
	{MODEL("version_labels { key: '42' value: 1 }"),
	 "m:1:56: label \"42\" would be taken for a version: use a letter as well"},
	{MODEL("version_labels { key: 'x' }"), "m:1:56: label \"x\" needs a version, 1 to 2^63-1"},
	{MODEL("version_labels { key: 'x' value: 1 } version_labels { key: 'x' value: 2 }"),
	 "m:1:93: label \"x\" stands twice, for version 1 before"},
	{MODEL("version_labels [ {key:'a' value:1}, {key:'b' value:1}, {key:'c' value:1}, "
	       "{key:'d' value:1}, {key:'e' value:1} ]"),
	 "m:1:149: more than 4 labels of one model"},
	{"model_config_list {\n  config { name: 'a' base_path: '/a' }\n"
	 "  config { name: 'a' base_path: '/b' }\n}",
	 "m:3:3: model \"a\" stands twice: one entry for each name"},
	/* Two names with one XXH32. */
	{"model_config_list {\n  config { name: 'm1f2479946e6d2432' base_path: '/a' }\n"
	 "  config { name: 'meecaa2d5a96b5f8e' base_path: '/b' }\n}",
	 "m:3:3: models \"meecaa2d5a96b5f8e\" and \"m1f2479946e6d2432\" have one wire name "
	 "(XXH32 3a7586cc): rename one"},
};

static void assert_bad(const struct bad *table, size_t count)
{
	size_t i, wrong = 0;

	for (i = 0; i < count; i++) {
		if (parse(table[i].text) == -EINVAL && !strcmp(error.text, table[i].error))
			continue;
		print_error("%s\n  says    %s\n  not     %s\n", table[i].text, error.text,
			    table[i].error);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void test_bad_words(void **state)
{
	(void)state;
	assert_bad(bad_words, sizeof(bad_words) / sizeof(bad_words[0]));
}

static void test_bad_values(void **state)
{
	(void)state;
	assert_bad(bad_values, sizeof(bad_values) / sizeof(bad_values[0]));
}

/* As many models as fit, and one more. */
static void test_many_models(void **state)
{
	char text[4096] = "model_config_list {";
	int i;

	(void)state;
	for (i = 0; i < FG_RULES_MAX_MODELS; i++)
		sprintf(text + strlen(text), "\nconfig { name: 'm%d' base_path: '/m%d' }", i, i);
	strcat(text, "}");
	parse_well(text);
	assert_int_equal(rules.model_count, FG_RULES_MAX_MODELS);
	text[strlen(text) - 1] = '\0';
	strcat(text, "\nconfig { name: 'last' base_path: '/last' }}");
	assert_int_equal(parse(text), -EINVAL);
	assert_string_equal(error.text, "m:34:1: more than 32 models");
}

/* Longer than any that is good, in the file or in one text; nested deeper than is skipped. */
static void test_bounds(void **state)
{
	static char text[4096];
	size_t at;

	(void)state;
	at = (size_t)sprintf(text, "model_config_list { config { name: '");
	memset(text + at, 'x', 2000);
	strcpy(text + at + 2000, "' } }");
	assert_int_equal(parse(text), -EINVAL);
	assert_string_equal(error.text, "m:1:36: a text of more than 1023 bytes");
	at = (size_t)sprintf(text, "model_config_list { config { name: 'a' base_path: '/");
	memset(text + at, 'x', 600);
	strcpy(text + at + 600, "' } }");
	assert_int_equal(parse(text), -EINVAL);
	assert_string_equal(error.text, "m:1:51: a path of 601 bytes: at most 511");
	at = (size_t)sprintf(text, "model_config_list { config { logging_config: ");
	memset(text + at, '<', 2000);
	text[at + 2000] = '\0';
	assert_int_equal(parse(text), -EINVAL);
	assert_string_equal(error.text, "m:1:110: nested more than 64 deep");
}

/* ---- files ---- */

static void test_bad_files(void **state)
{
	char path[] = "/tmp/fgt-models-XXXXXX", link[64];
	int fd = mkstemp(path);

	(void)state;
	fg_models_config_from_flags(&rules, "", FG_RULES_LATEST);
	assert_int_equal(fg_models_config_load(&rules, "/nowhere/x", &error), -ENOENT);
	assert_string_equal(error.text, "/nowhere/x: No such file or directory");
	assert_int_equal(fg_models_config_load(&rules, "/tmp", &error), -EINVAL);
	assert_string_equal(error.text, "/tmp: not a regular file");
	assert_int_equal(ftruncate(fd, FG_MODELS_CONFIG_MAX_BYTES + 1), 0);
	assert_int_equal(fg_models_config_load(&rules, path, &error), -EFBIG);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, "model_config_list { config { name: 'a' } }", 42, 0), 42);
	snprintf(link, sizeof(link), "%s-link", path);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(fg_models_config_load(&rules, link, &error), -EINVAL);
	unlink(link);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(fg_models_config_load(&rules, path, &error), -EINVAL);
	assert_non_null(strstr(error.text, ": not a regular file"));
	unlink(path);
	close(fd);
}

/* What a link leads to may be swapped later (a ConfigMap), so the option keeps the link. */
static void test_option_keeps_links(void **state)
{
	char folder[] = "/tmp/fgt-models-XXXXXX", path[64], expected[128], here[64];
	char *flags[] = {"flipgated", "--listen",	 "127.0.0.1:9", "--packer",
			 "/bin/true", "--models-config", path,		NULL};
	static struct fg_config config;

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_non_null(getcwd(here, sizeof(here)));
	snprintf(path, sizeof(path), "%s/link", folder);
	assert_int_equal(fg_config_load(&config, 7, flags, &error), -ENOENT);
	snprintf(expected, sizeof(expected), "%s/docs/examples/models.yaml", here);
	assert_int_equal(symlink(expected, path), 0);
	assert_int_equal(fg_config_load(&config, 7, flags, &error), 0);
	assert_string_equal(config.models_config, path);
	strcpy(path, "docs/examples/models.yaml");
	assert_int_equal(fg_config_load(&config, 7, flags, &error), 0);
	assert_string_equal(config.models_config, expected);
	snprintf(path, sizeof(path), "%s/link", folder);
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),   cmocka_unit_test(test_the_smallest),
		cmocka_unit_test(test_spellings),  cmocka_unit_test(test_policies),
		cmocka_unit_test(test_flags),	   cmocka_unit_test(test_bad_words),
		cmocka_unit_test(test_bad_values), cmocka_unit_test(test_many_models),
		cmocka_unit_test(test_bounds),	   cmocka_unit_test(test_option_keeps_links),
		cmocka_unit_test(test_bad_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
