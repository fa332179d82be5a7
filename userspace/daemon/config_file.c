#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "userspace/daemon/config_options.h"

/* The file is a mapping of the options' names to texts, or to lists of texts. */
struct file_value {
	union {
		char *one;
		char **many;
	};
	uint32_t count; /* of many */
};

struct file {
	struct file_value values[FG_CONFIG_OPTIONS];
};

struct file_schema {
	cyaml_schema_field_t fields[FG_CONFIG_OPTIONS + 1];
	cyaml_schema_value_t top;
};

static const cyaml_schema_value_t file_text = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

static cyaml_schema_value_t value_schema(bool list)
{
	cyaml_schema_value_t schema = {
		.type = list ? CYAML_SEQUENCE : CYAML_STRING,
		.flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
		.data_size = list ? sizeof(char *) : sizeof(char),
	};

	if (list) {
		schema.sequence.entry = &file_text;
		schema.sequence.max = FG_CONFIG_MAX_ACL;
	} else {
		schema.string.max = CYAML_UNLIMITED;
	}
	return schema;
}

static void make_schema(struct file_schema *schema)
{
	memset(schema, 0, sizeof(*schema));
	for (size_t i = 0; i < FG_CONFIG_OPTIONS; i++)
		schema->fields[i] = (cyaml_schema_field_t){
			.key = fg_config_options[i].name,
			.data_offset = offsetof(struct file, values[i].one),
			.count_offset = offsetof(struct file, values[i].count),
			.count_size = sizeof(uint32_t),
			.value = value_schema(fg_config_options[i].list),
		};
	schema->top = (cyaml_schema_value_t){
		CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct file, schema->fields)};
}

/* libcyaml logs what is wrong first and where in a later line of a backtrace. */
static void keep_error(cyaml_log_t level, void *context, const char *format, va_list args)
{
	struct fg_error *error = context;
	char line[160];
	size_t used = strlen(error->text);

	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	if (level >= CYAML_LOG_ERROR &&
	    (!used || (strstr(line, "line:") && used < 160 && !strstr(error->text, "line:"))))
		snprintf(error->text + used, sizeof(error->text) - used, "%s%s", used ? "," : "",
			 line + strspn(line, " "));
}

static int apply_file(struct fg_config *config, const struct file *file, const char *path,
		      struct fg_error *error)
{
	char where[128];
	int code = 0;

	snprintf(where, sizeof(where), "%.120s: ", path);
	for (size_t i = 0; !code && i < FG_CONFIG_OPTIONS; i++) {
		const struct file_value *value = &file->values[i];

		if (!fg_config_options[i].list && value->one)
			code = fg_config_apply(config, &fg_config_options[i], value->one, where,
					       error);
		for (uint32_t k = 0; !code && fg_config_options[i].list && k < value->count; k++)
			code = fg_config_apply(config, &fg_config_options[i], value->many[k], where,
					       error);
	}
	return code;
}

int fg_config_load_file(struct fg_config *config, const char *path, struct fg_error *error)
{
	struct fg_error detail = {""};
	const cyaml_config_t cyaml = {.log_fn = keep_error,
				      .log_ctx = &detail,
				      .mem_fn = cyaml_mem,
				      .log_level = CYAML_LOG_ERROR,
				      .flags = CYAML_CFG_DEFAULT};
	struct file_schema schema;
	struct file *file = NULL;
	cyaml_err_t status;
	int code;

	if (access(path, R_OK))
		return fg_error_set(error, -errno, "%s: %s", path, strerror(errno));
	make_schema(&schema);
	status = cyaml_load_file(path, &cyaml, &schema.top, (cyaml_data_t **)&file, NULL);
	if (status != CYAML_OK)
		return fg_error_set(error, -EINVAL, "%.60s: %s", path,
				    detail.text[0] ? detail.text : cyaml_strerror(status));
	if (!file)
		return 0; /* an empty file says nothing */
	code = apply_file(config, file, path, error);
	cyaml_free(&cyaml, &schema.top, file, 0);
	return code;
}
