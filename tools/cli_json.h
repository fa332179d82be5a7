/* cli_json.h: fields of replies as the verbs read them: what is not there is "" or 0. */
#ifndef FG_TOOLS_CLI_JSON_H
#define FG_TOOLS_CLI_JSON_H

#include <jansson.h>
#include <string.h>

/* Belongs to `object`. */
static inline const char *fg_cli_text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static inline long long fg_cli_integer_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static inline double fg_cli_number_of(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

/* The object of an array whose `key` is this text, such as a model by its name; NULL: none. */
static inline json_t *fg_cli_find(const json_t *array, const char *key, const char *text)
{
	json_t *value;
	size_t i;

	json_array_foreach((json_t *)array, i, value)
	{
		if (strcmp(fg_cli_text_of(value, key), text) == 0)
			return value;
	}
	return NULL;
}

#endif
