#include <errno.h>
#include <jansson.h>
#include "models/golden_parts.h"

static int read_row(const json_t *line, size_t row, size_t width, float *to, const char *what,
		    struct fg_error *error)
{
	if (!json_is_array(line) || json_array_size(line) != width)
		return fg_error_set(error, -EINVAL,
				    "%s: row %zu is not a list of %zu numbers, as row 0 is", what,
				    row, width);
	for (size_t col = 0; col < width; col++) {
		const json_t *number = json_array_get(line, col);

		if (!json_is_number(number))
			return fg_error_set(error, -EINVAL, "%s: row %zu, column %zu is no number",
					    what, row, col);
		to[col] = (float)json_number_value(number);
	}
	return 0;
}

static int read_rows(struct fg_golden *golden, struct fg_arena *arena, const json_t *list,
		     bool is_input, const char *name, struct fg_error *error)
{
	size_t rows = json_array_size(list), cols = json_array_size(json_array_get(list, 0));
	char what[80];
	float *to;
	int result = fg_golden_add(golden, arena, is_input, name, rows, cols, &to, error);

	snprintf(what, sizeof(what), "\"%s%s%.40s\"", is_input ? "inputs" : "outputs",
		 name ? "/" : "", name ? name : "");
	for (size_t row = 0; row < rows && !result; row++)
		result = read_row(json_array_get(list, row), row, cols, to + row * cols, what,
				  error);
	return result;
}

static int read_side(struct fg_golden *golden, struct fg_arena *arena, json_t *root, bool is_input,
		     struct fg_error *error)
{
	json_t *part = json_object_get(root, is_input ? "inputs" : "outputs"), *list;
	const char *name;
	int result = 0;

	if (!json_is_object(part))
		return read_rows(golden, arena, part, is_input, NULL, error);
	json_object_foreach(part, name, list)
	{
		result = read_rows(golden, arena, list, is_input, name, error);
		if (result)
			break;
	}
	return result;
}

int fg_golden_read_json(struct fg_golden *golden, const void *bytes, size_t size,
			struct fg_arena *arena, struct fg_error *error)
{
	const json_t *tolerance;
	json_error_t where;
	json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
	int result;

	if (!root)
		return fg_error_set(error, -EINVAL, "line %d: %s", where.line, where.text);
	result = read_side(golden, arena, root, true, error);
	if (!result)
		result = read_side(golden, arena, root, false, error);
	tolerance = json_object_get(root, "tolerance");
	if (!result && tolerance)
		result = fg_golden_set_tolerance(golden, json_number_value(tolerance), error);
	json_decref(root);
	return result;
}
