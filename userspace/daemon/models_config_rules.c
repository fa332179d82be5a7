#include <errno.h>
#include <string.h>
#include "sched/rollout.h"
#include "userspace/daemon/models_config.h"
#include "userspace/daemon/models_config_rules.h"
#include "userspace/daemon/repository.h"
#include "userspace/protocol/wire.h"

#define NAME_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
#define DIGITS	     "0123456789"
#define MAX_SHOWN    100 /* bytes of a file's path: its end tells more */

int fg_models_fail(struct fg_error *error, const struct fg_models_at *at, const char *format, ...)
{
	const size_t length = strlen(at->file);
	const char *file = length > MAX_SHOWN ? at->file + length - MAX_SHOWN : at->file;
	size_t used;
	va_list args;
	char *c;

	if (at->line)
		fg_error_set(error, 0, "%s:%u:%u: ", file, at->line, at->column);
	else
		fg_error_set(error, 0, "%s: ", file);
	used = strlen(error->text);
	va_start(args, format);
	vsnprintf(error->text + used, sizeof(error->text) - used, format, args);
	va_end(args);
	for (c = error->text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return -EINVAL;
}

/* ---- values ---- */

int fg_models_set_name(struct fg_rules_model *model, const char *name,
		       const struct fg_models_at *at, struct fg_error *error)
{
	if (!fg_repository_valid_model(name))
		return fg_models_fail(error, at,
				      "\"%.64s\" is no model name: 1 to 63 of A-Z a-z 0-9 _ . -, "
				      "the first of them no dot",
				      name);
	strcpy(model->name, name);
	return 0;
}

/* UTF-8 (RFC 3629) without control characters: paths stand in logs and in JSON. */
static bool is_plain_text(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	while (*at) {
		const unsigned char first = *at++;
		uint32_t code = first, more = 0;

		if (first < ' ' || first == 0x7f)
			return false;
		if (first >= 0x80) {
			more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
			if (first < 0xc2 || first > 0xf4)
				return false;
			code = first & (0x3f >> more);
		}
		for (uint32_t left = more; left; left--) {
			if ((*at & 0xc0) != 0x80)
				return false;
			code = code << 6 | (*at++ & 0x3f);
		}
		if ((more == 1 && code < 0xa0) ||
		    (more == 2 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) ||
		    (more == 3 && (code < 0x10000 || code > 0x10ffff)))
			return false;
	}
	return true;
}

/* The length of "scheme" in "scheme://...", 0 without one. */
static size_t scheme_length(const char *text)
{
	const size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					   "0123456789+.-");

	return strncmp(text + length, "://", 3) ? 0 : length;
}

int fg_models_set_path(char path[FG_RULES_PATH_BYTES], const char *text,
		       const struct fg_models_at *at, struct fg_error *error)
{
	const size_t scheme = scheme_length(text);
	size_t length;

	if (scheme && (scheme != 4 || strncmp(text, "file", 4)))
		return fg_models_fail(error, at,
				      "\"%.80s\" is not on this host, and flipgate reads local "
				      "directories only: mount it, or copy its versions here "
				      "(flipgate publish)",
				      text);
	if (scheme)
		text += scheme + 3;
	if (text[0] != '/')
		return fg_models_fail(error, at,
				      "\"%.80s\" is no absolute path: begin it with / or file:///",
				      text);
	length = strlen(text);
	while (length > 1 && text[length - 1] == '/')
		length--;
	if (length >= FG_RULES_PATH_BYTES)
		return fg_models_fail(error, at, "a path of %zu bytes: at most %d", length,
				      FG_RULES_PATH_BYTES - 1);
	if (!is_plain_text(text))
		return fg_models_fail(error, at,
				      "\"%.80s\" is not UTF-8, or holds control characters", text);
	memcpy(path, text, length);
	path[length] = '\0';
	return 0;
}

int fg_models_set_count(struct fg_rules_model *model, uint64_t count, const struct fg_models_at *at,
			struct fg_error *error)
{
	if (!count || count > FG_ROLLOUT_MAX_MODELS)
		return fg_models_fail(error, at,
				      "the latest %llu versions: 1 to %d, as many as are served at "
				      "a time",
				      (unsigned long long)count, FG_ROLLOUT_MAX_MODELS);
	model->count = (uint32_t)count;
	return 0;
}

int fg_models_add_version(struct fg_rules_model *model, uint64_t version,
			  const struct fg_models_at *at, struct fg_error *error)
{
	uint32_t i;

	if (!version || version > INT64_MAX)
		return fg_models_fail(error, at, "version %llu: versions are 1 to 2^63-1",
				      (unsigned long long)version);
	for (i = 0; i < model->count; i++)
		if (model->versions[i] == version)
			return 0;
	if (model->count == FG_RULES_MAX_VERSIONS)
		return fg_models_fail(error, at, "more than %d versions of one model",
				      FG_RULES_MAX_VERSIONS);
	model->versions[model->count++] = version;
	return 0;
}

int fg_models_add_label(struct fg_rules_model *model, const char *name, uint64_t version,
			const struct fg_models_at *at, struct fg_error *error)
{
	const size_t length = strlen(name);
	uint32_t i;

	if (!length || length >= FG_RULES_LABEL_BYTES || strspn(name, NAME_LETTERS) != length)
		return fg_models_fail(error, at,
				      "\"%.64s\" is no label: 1 to %d of A-Z a-z 0-9 _ . -", name,
				      FG_RULES_LABEL_BYTES - 1);
	if (strspn(name, DIGITS) == length)
		return fg_models_fail(error, at,
				      "label \"%s\" would be taken for a version: use a letter "
				      "as well",
				      name);
	if (!version || version > INT64_MAX)
		return fg_models_fail(error, at, "label \"%s\" needs a version, 1 to 2^63-1", name);
	for (i = 0; i < model->label_count; i++)
		if (!strcmp(model->labels[i].name, name))
			return fg_models_fail(error, at,
					      "label \"%s\" stands twice, for version %llu before",
					      name, (unsigned long long)model->labels[i].version);
	if (model->label_count == FG_RULES_MAX_LABELS)
		return fg_models_fail(error, at, "more than %d labels of one model",
				      FG_RULES_MAX_LABELS);
	strcpy(model->labels[model->label_count].name, name);
	model->labels[model->label_count++].version = version;
	return 0;
}

/* ---- whole models ---- */

static int check_name(const struct fg_rules *rules, const struct fg_rules_model *model,
		      const struct fg_models_at *at, struct fg_error *error)
{
	const uint32_t wire = fg_wire_model(model->name);
	uint32_t i;

	if (!model->name[0])
		return fg_models_fail(error, at, "this model has no name");
	for (i = 0; i < rules->model_count; i++) {
		if (!strcmp(rules->models[i].name, model->name))
			return fg_models_fail(error, at,
					      "model \"%s\" stands twice: one entry for each name",
					      model->name);
		if (fg_wire_model(rules->models[i].name) == wire)
			return fg_models_fail(error, at,
					      "models \"%s\" and \"%s\" have one wire name "
					      "(XXH32 %08x): rename one",
					      model->name, rules->models[i].name, wire);
	}
	return 0;
}

int fg_models_add(struct fg_rules *rules, const struct fg_rules_model *model,
		  const struct fg_models_at *at, struct fg_error *error)
{
	struct fg_rules_model whole = *model;
	int length, code = check_name(rules, model, at, error);

	if (code)
		return code;
	if (rules->model_count == FG_RULES_MAX_MODELS)
		return fg_models_fail(error, at, "more than %d models", FG_RULES_MAX_MODELS);
	if (!model->path[0] && !rules->repository[0])
		return fg_models_fail(error, at,
				      "model \"%s\" has no path: say where its versions lie",
				      model->name);
	if (!model->path[0]) {
		length = snprintf(whole.path, sizeof(whole.path), "%s/%s", rules->repository,
				  model->name);
		if (length >= (int)sizeof(whole.path))
			return fg_models_fail(error, at,
					      "model \"%s\": its path below the repository is "
					      "too long",
					      model->name);
	}
	rules->models[rules->model_count++] = whole;
	return 0;
}

/* ---- rules from elsewhere ---- */

static bool is_text(const char *text, size_t size)
{
	return memchr(text, 0, size);
}

static bool check_versions(const struct fg_rules_model *model)
{
	const bool counts = model->policy == FG_RULES_LATEST || model->policy == FG_RULES_SPECIFIC;
	uint32_t i;

	if (model->policy > FG_RULES_SPECIFIC || model->label_count > FG_RULES_MAX_LABELS ||
	    counts != (model->count != 0) ||
	    (model->policy == FG_RULES_SPECIFIC && model->count > FG_RULES_MAX_VERSIONS))
		return false;
	for (i = 0; i < FG_RULES_MAX_LABELS; i++)
		if (!is_text(model->labels[i].name, FG_RULES_LABEL_BYTES))
			return false;
	return true;
}

static bool check_model(const struct fg_rules_model *model)
{
	return is_text(model->name, sizeof(model->name)) &&
	       is_text(model->path, sizeof(model->path)) && is_plain_text(model->path) &&
	       check_versions(model);
}

bool fg_models_config_check(const struct fg_rules *rules)
{
	uint32_t i;

	if (!is_text(rules->repository, sizeof(rules->repository)) ||
	    rules->model_count > FG_RULES_MAX_MODELS || !check_model(&rules->defaults) ||
	    rules->defaults.name[0] || rules->defaults.path[0])
		return false;
	for (i = 0; i < rules->model_count; i++) {
		const struct fg_rules_model *model = &rules->models[i];

		if (!check_model(model) || !fg_repository_valid_model(model->name) ||
		    model->path[0] != '/' || fg_rules_find(rules, model->name) != model)
			return false;
	}
	return true;
}
