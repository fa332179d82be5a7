/* Any bytes as the models' configuration: refused with a reason that fits a log line, or rules that
 * keep what rules.h promises and that come back the same when they are written as YAML. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "userspace/daemon/models_config.h"
#include "userspace/daemon/repository.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const char *const policies[] = {"latest", "manual", "all", "specific"};

/* ---- what rules promise ---- */

static void check_text(const char *text, size_t size)
{
	const size_t length = strnlen(text, size);

	if (length == size)
		abort();
	for (size_t i = length; i < size; i++)
		if (text[i])
			abort();
}

static void check_versions(const struct fg_rules_model *model)
{
	const uint32_t named = model->policy == FG_RULES_SPECIFIC ? model->count : 0;

	if (model->policy > FG_RULES_SPECIFIC || named > FG_RULES_MAX_VERSIONS ||
	    model->label_count > FG_RULES_MAX_LABELS)
		abort();
	if ((model->policy == FG_RULES_LATEST || model->policy == FG_RULES_SPECIFIC) !=
	    (model->count != 0))
		abort();
	for (uint32_t i = 0; i < FG_RULES_MAX_VERSIONS; i++)
		if ((model->versions[i] != 0) != (i < named))
			abort();
	for (uint32_t i = 0; i < FG_RULES_MAX_LABELS; i++) {
		check_text(model->labels[i].name, FG_RULES_LABEL_BYTES);
		if ((model->labels[i].version != 0) != (i < model->label_count) ||
		    !model->labels[i].name[0] != (i >= model->label_count))
			abort();
	}
}

static void check_rules(const struct fg_rules *rules)
{
	check_text(rules->repository, sizeof(rules->repository));
	check_versions(&rules->defaults);
	if (rules->model_count > FG_RULES_MAX_MODELS || rules->defaults.name[0] ||
	    rules->defaults.path[0] || (!rules->repository[0] && !rules->model_count))
		abort();
	for (uint32_t i = 0; i < rules->model_count; i++) {
		const struct fg_rules_model *model = &rules->models[i];

		check_text(model->name, sizeof(model->name));
		check_text(model->path, sizeof(model->path));
		check_versions(model);
		if (!fg_repository_valid_model(model->name) || model->path[0] != '/' ||
		    fg_rules_find(rules, model->name) != model)
			abort();
	}
}

/* ---- there and back ---- */

/* Letters beyond ASCII as \U: YAML breaks lines at some of them. */
static void write_text(FILE *to, const char *key, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	fprintf(to, "%s: \"", key);
	while (*at) {
		uint32_t code = *at++, more = code < 0x80   ? 0
					      : code < 0xe0 ? 1
					      : code < 0xf0 ? 2
							    : 3;

		if (!more) {
			fprintf(to, code == '"' || code == '\\' ? "\\%c" : "%c", (int)code);
			continue;
		}
		code &= 0x3fu >> more;
		for (; more; more--)
			code = code << 6 | (*at++ & 0x3f);
		fprintf(to, "\\U%08x", code);
	}
	fprintf(to, "\"\n");
}

static void write_policy(FILE *to, const struct fg_rules_model *model)
{
	fprintf(to, "  policy: %s\n", policies[model->policy]);
	if (model->policy == FG_RULES_LATEST)
		fprintf(to, "  count: %u\n", model->count);
}

static void write_model(FILE *to, const struct fg_rules_model *model)
{
	write_text(to, "- name", model->name);
	write_text(to, "  path", model->path);
	write_policy(to, model);
	if (model->policy == FG_RULES_SPECIFIC) {
		fprintf(to, "  versions:\n");
		for (uint32_t i = 0; i < model->count; i++)
			fprintf(to, "  - %llu\n", (unsigned long long)model->versions[i]);
	}
	fprintf(to, "  labels: [");
	for (uint32_t i = 0; i < model->label_count; i++)
		fprintf(to, "{version: %llu, name: %s},",
			(unsigned long long)model->labels[i].version, model->labels[i].name);
	fprintf(to, "]\n");
}

static void there_and_back(const struct fg_rules *rules)
{
	static struct fg_rules again;
	struct fg_error error;
	size_t size;
	char *text;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		abort();
	if (rules->repository[0])
		write_text(to, "repository", rules->repository);
	fprintf(to, "defaults:\n");
	write_policy(to, &rules->defaults);
	fprintf(to, "models:%s\n", rules->model_count ? "" : " []");
	for (uint32_t i = 0; i < rules->model_count; i++)
		write_model(to, &rules->models[i]);
	fclose(to);
	fg_models_config_from_flags(&again, "", FG_RULES_MANUAL);
	if (fg_models_config_parse(&again, "again", text, size, &error) ||
	    memcmp(&again, rules, sizeof(again)))
		abort();
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct fg_rules rules;
	struct fg_error error = {""};

	fg_models_config_from_flags(&rules, "", FG_RULES_LATEST);
	if (!fg_models_config_parse(&rules, "fuzz", (const char *)bytes, length, &error)) {
		check_rules(&rules);
		if (!fg_models_config_check(&rules))
			abort();
		there_and_back(&rules);
		return 0;
	}
	if (!error.text[0])
		abort();
	for (const char *c = error.text; *c; c++)
		if (*c < ' ' || *c > '~')
			abort();
	return 0;
}
