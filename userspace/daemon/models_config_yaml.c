/*
 * Our own format. libcyaml checks the shape (which keys, lists or texts) and makes structs of it;
 * libyaml says where in the file a value stands, which libcyaml forgets.
 */
#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>
#include "userspace/daemon/models_config_rules.h"
#include "userspace/daemon/repository.h"

/* ---- the shape ---- */

struct file_label {
	char *name, *version;
};

struct file_model {
	char *name, *path, *policy, *count;
	char **versions;
	uint32_t version_count;
	struct file_label *labels;
	uint32_t label_count;
};

struct file {
	char *repository;
	struct file_model *defaults;
	struct file_model *models;
	uint32_t model_count;
};

#define OPTIONAL (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define TEXT(name, flags, in)                                                                      \
	CYAML_FIELD_STRING_PTR(#name, flags, struct in, name, 0, CYAML_UNLIMITED)

static const cyaml_schema_value_t text_schema = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

static const cyaml_schema_field_t label_fields[] = {
	TEXT(name, CYAML_FLAG_POINTER, file_label),
	TEXT(version, CYAML_FLAG_POINTER, file_label),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t label_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct file_label, label_fields)};

static const cyaml_schema_field_t model_fields[] = {
	TEXT(name, CYAML_FLAG_POINTER, file_model),
	TEXT(path, OPTIONAL, file_model),
	TEXT(policy, OPTIONAL, file_model),
	TEXT(count, OPTIONAL, file_model),
	CYAML_FIELD_SEQUENCE_COUNT("versions", OPTIONAL, struct file_model, versions, version_count,
				   &text_schema, 0, CYAML_UNLIMITED),
	CYAML_FIELD_SEQUENCE_COUNT("labels", OPTIONAL, struct file_model, labels, label_count,
				   &label_schema, 0, CYAML_UNLIMITED),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t model_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct file_model, model_fields)};

static const cyaml_schema_field_t defaults_fields[] = {
	TEXT(policy, OPTIONAL, file_model),
	TEXT(count, OPTIONAL, file_model),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t file_fields[] = {
	TEXT(repository, OPTIONAL, file),
	CYAML_FIELD_MAPPING_PTR("defaults", OPTIONAL, struct file, defaults, defaults_fields),
	CYAML_FIELD_SEQUENCE_COUNT("models", OPTIONAL, struct file, models, model_count,
				   &model_schema, 0, CYAML_UNLIMITED),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t file_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct file, file_fields)};

/* ---- places ---- */

struct reader {
	const char *name; /* of the file */
	struct fg_rules *rules;
	struct fg_error *error;
	yaml_document_t document;
};

static struct fg_models_at at_mark(const struct reader *reader, yaml_mark_t mark)
{
	return (struct fg_models_at){reader->name, (uint32_t)mark.line + 1,
				     (uint32_t)mark.column + 1};
}

/* Where the node stands; libcyaml has seen to it that there is one. */
static struct fg_models_at at_node(const struct reader *reader, const yaml_node_t *node)
{
	return node ? at_mark(reader, node->start_mark) : (struct fg_models_at){reader->name, 0, 0};
}

/* The value of a key; NULL: `in` has none, or is no mapping. */
static yaml_node_t *get(struct reader *reader, const yaml_node_t *in, const char *key)
{
	if (!in || in->type != YAML_MAPPING_NODE)
		return NULL;
	for (yaml_node_pair_t *pair = in->data.mapping.pairs.start;
	     pair < in->data.mapping.pairs.top; pair++) {
		const yaml_node_t *name = yaml_document_get_node(&reader->document, pair->key);

		if (name && name->type == YAML_SCALAR_NODE &&
		    !strcmp((const char *)name->data.scalar.value, key))
			return yaml_document_get_node(&reader->document, pair->value);
	}
	return NULL;
}

/* An entry of a list; NULL: there is none, or `in` is no list. */
static yaml_node_t *entry(struct reader *reader, const yaml_node_t *in, uint32_t index)
{
	if (!in || in->type != YAML_SEQUENCE_NODE ||
	    index >= in->data.sequence.items.top - in->data.sequence.items.start)
		return NULL;
	return yaml_document_get_node(&reader->document, in->data.sequence.items.start[index]);
}

static struct fg_models_at at_key(struct reader *reader, const yaml_node_t *in, const char *key)
{
	return at_node(reader, get(reader, in, key));
}

/* ---- values ---- */

static int set_policy(struct reader *reader, struct fg_rules_model *model, const char *text,
		      const struct fg_models_at *at)
{
	static const char *const names[] = {
		[FG_RULES_LATEST] = "latest",
		[FG_RULES_MANUAL] = "manual",
		[FG_RULES_ALL] = "all",
		[FG_RULES_SPECIFIC] = "specific",
	};

	for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]))
			continue;
		model->policy = i;
		model->count = i == FG_RULES_LATEST;
		return 0;
	}
	return fg_models_fail(reader->error, at,
			      "\"%.40s\" is no policy: latest, manual, all or specific", text);
}

static int read_version(struct reader *reader, const char *text, const yaml_node_t *node,
			uint64_t *version)
{
	const struct fg_models_at at = at_node(reader, node);

	*version = fg_repository_parse_version(text);
	if (*version)
		return 0;
	return fg_models_fail(reader->error, &at, "\"%.40s\" is no version: 1 to 2^63-1", text);
}

static int set_count(struct reader *reader, struct fg_rules_model *model, const char *text,
		     const struct fg_models_at *at)
{
	const uint64_t count = fg_repository_parse_version(text);

	if (model->policy != FG_RULES_LATEST)
		return fg_models_fail(reader->error, at,
				      "count is how many versions policy latest serves: the "
				      "policy here is another one");
	if (!count)
		return fg_models_fail(reader->error, at, "\"%.40s\" is no count of versions", text);
	return fg_models_set_count(model, count, at, reader->error);
}

static int add_versions(struct reader *reader, struct fg_rules_model *model,
			const struct file_model *from, const yaml_node_t *node)
{
	const yaml_node_t *list = get(reader, node, "versions");
	const struct fg_models_at at = at_node(reader, list ? list : node);
	uint64_t version;
	int code = 0;

	if (from->versions && model->policy != FG_RULES_SPECIFIC)
		return fg_models_fail(reader->error, &at, "versions need policy: specific");
	for (uint32_t i = 0; !code && i < from->version_count; i++) {
		const struct fg_models_at one = at_node(reader, entry(reader, list, i));

		code = read_version(reader, from->versions[i], entry(reader, list, i), &version);
		if (!code)
			code = fg_models_add_version(model, version, &one, reader->error);
	}
	if (!code && model->policy == FG_RULES_SPECIFIC && !model->count)
		code = fg_models_fail(reader->error, &at,
				      "policy specific names no version: versions: [1]");
	return code;
}

static int add_labels(struct reader *reader, struct fg_rules_model *model,
		      const struct file_model *from, const yaml_node_t *node)
{
	const yaml_node_t *list = get(reader, node, "labels");
	uint64_t version;
	int code = 0;

	for (uint32_t i = 0; !code && i < from->label_count; i++) {
		const yaml_node_t *label = entry(reader, list, i);
		const struct fg_models_at at = at_node(reader, label);

		code = read_version(reader, from->labels[i].version, get(reader, label, "version"),
				    &version);
		if (!code)
			code = fg_models_add_label(model, from->labels[i].name, version, &at,
						   reader->error);
	}
	return code;
}

/* ---- models ---- */

/* What defaults and models may both say. */
static int read_policy(struct reader *reader, struct fg_rules_model *model,
		       const struct file_model *from, const yaml_node_t *node)
{
	const struct fg_models_at policy = at_key(reader, node, "policy");
	const struct fg_models_at count = at_key(reader, node, "count");
	int code = 0;

	if (from->policy)
		code = set_policy(reader, model, from->policy, &policy);
	if (!code && from->count)
		code = set_count(reader, model, from->count, &count);
	return code;
}

static int read_defaults(struct reader *reader, const struct file_model *from,
			 const yaml_node_t *node)
{
	const struct fg_models_at at = at_key(reader, node, "policy");
	int code = read_policy(reader, &reader->rules->defaults, from, node);

	if (!code && reader->rules->defaults.policy == FG_RULES_SPECIFIC)
		code = fg_models_fail(reader->error, &at,
				      "specific versions are a model's own: list it in models");
	return code;
}

static int read_model(struct reader *reader, const struct file_model *from, const yaml_node_t *node)
{
	const struct fg_models_at at = at_node(reader, node);
	const struct fg_models_at name = at_key(reader, node, "name");
	const struct fg_models_at path = at_key(reader, node, "path");
	struct fg_rules_model model = reader->rules->defaults;
	int code = fg_models_set_name(&model, from->name, &name, reader->error);

	if (!code && from->path)
		code = fg_models_set_path(model.path, from->path, &path, reader->error);
	if (!code)
		code = read_policy(reader, &model, from, node);
	if (!code)
		code = add_versions(reader, &model, from, node);
	if (!code)
		code = add_labels(reader, &model, from, node);
	return code ? code : fg_models_add(reader->rules, &model, &at, reader->error);
}

static int read_file(struct reader *reader, const struct file *file)
{
	const yaml_node_t *root = yaml_document_get_root_node(&reader->document);
	const yaml_node_t *models = get(reader, root, "models");
	const struct fg_models_at repository = at_key(reader, root, "repository");
	int code = 0;

	if (file->repository)
		code = fg_models_set_path(reader->rules->repository, file->repository, &repository,
					  reader->error);
	if (!code && file->defaults)
		code = read_defaults(reader, file->defaults, get(reader, root, "defaults"));
	for (uint32_t i = 0; !code && i < file->model_count; i++)
		code = read_model(reader, &file->models[i], entry(reader, models, i));
	return code;
}

/* ---- loading ---- */

/* One document; what is no YAML ends here, with its place. */
static int load_places(struct reader *reader, const char *text, size_t size)
{
	struct fg_models_at at;
	yaml_document_t second;
	yaml_parser_t parser;
	int code = 0;

	if (!yaml_parser_initialize(&parser))
		return fg_error_set(reader->error, -ENOMEM, "%.100s: no memory", reader->name);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
	if (!yaml_parser_load(&parser, &reader->document))
		goto no_yaml;
	if (!yaml_parser_load(&parser, &second)) {
		yaml_document_delete(&reader->document);
		goto no_yaml;
	}
	if (yaml_document_get_root_node(&second)) {
		at = at_node(reader, yaml_document_get_root_node(&second));
		code = fg_models_fail(reader->error, &at, "a second document: one is read");
		yaml_document_delete(&reader->document);
	}
	yaml_document_delete(&second);
	yaml_parser_delete(&parser);
	return code;
no_yaml:
	at = at_mark(reader, parser.problem_mark);
	code = fg_models_fail(reader->error, &at, "no YAML: %s",
			      parser.problem ? parser.problem : "no memory");
	yaml_parser_delete(&parser);
	return code;
}

struct complaint {
	char text[120];
	uint32_t line; /* of the last thing that was good; 0: not known */
};

/* libcyaml logs what is wrong first, and where in a later line of a backtrace. */
static void keep_complaint(cyaml_log_t level, void *context, const char *format, va_list args)
{
	struct complaint *complaint = context;
	char line[160];
	const char *where;

	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	where = strstr(line, "line: ");
	if (level < CYAML_LOG_ERROR)
		return;
	if (where && !complaint->line) {
		const size_t used = strlen(complaint->text);
		char field[32];

		complaint->line = (uint32_t)strtoul(where + 6, NULL, 10);
		if (!strncmp(complaint->text, "Expecting", 9) &&
		    sscanf(line, " in mapping field '%31[^']", field) == 1)
			snprintf(complaint->text + used, sizeof(complaint->text) - used,
				 " as value of %s", field);
	} else if (!where && !complaint->text[0] && !strstr(line, "Backtrace")) {
		snprintf(complaint->text, sizeof(complaint->text), "%.119s",
			 strncmp(line, "Load: ", 6) ? line : line + 6);
	}
}

static int complain(struct reader *reader, const struct complaint *complaint, cyaml_err_t status)
{
	const struct fg_models_at whole = {reader->name, 0, 0};
	const char *text = complaint->text;

	if (!text[0])
		text = status == CYAML_OK ? "the file says nothing" : cyaml_strerror(status);
	if (complaint->line)
		return fg_models_fail(reader->error, &whole, "near line %u: %s", complaint->line,
				      text);
	return fg_models_fail(reader->error, &whole, "%s", text);
}

int fg_models_parse_yaml(struct fg_rules *rules, const char *name, const char *text, size_t size,
			 struct fg_error *error)
{
	struct reader reader = {.name = name, .rules = rules, .error = error};
	struct complaint complaint = {"", 0};
	const cyaml_config_t cyaml = {.log_fn = keep_complaint,
				      .log_ctx = &complaint,
				      .mem_fn = cyaml_mem,
				      .log_level = CYAML_LOG_ERROR,
				      .flags = CYAML_CFG_NO_ALIAS};
	struct file *file = NULL;
	cyaml_err_t status;
	int code = load_places(&reader, text, size);

	if (code)
		return code;
	status = cyaml_load_data((const uint8_t *)text, size, &cyaml, &file_schema,
				 (cyaml_data_t **)&file, NULL);
	if (status == CYAML_OK && file)
		code = read_file(&reader, file);
	else
		code = complain(&reader, &complaint, status);
	cyaml_free(&cyaml, &file_schema, file, 0);
	yaml_document_delete(&reader.document);
	return code;
}
