#include <errno.h>
#include <string.h>
#include "models/file.h"
#include "models/golden_parts.h"
#include "models/plan_format.h"

static const char *side(bool is_input)
{
	return is_input ? "inputs" : "outputs";
}

int fg_golden_add(struct fg_golden *golden, struct fg_arena *arena, bool is_input, const char *name,
		  size_t rows, size_t cols, float **to, struct fg_error *error)
{
	struct fg_golden_part *parts = is_input ? golden->inputs : golden->outputs;
	uint32_t *count = is_input ? &golden->input_count : &golden->output_count;
	char *copy = NULL;

	if (!rows || rows > FG_PLAN_MAX_GOLDEN || !cols || cols > FG_PLAN_MAX_COLS)
		return fg_error_set(error, -EINVAL,
				    "\"%s\": must hold 1 to %u rows of 1 to %u numbers",
				    side(is_input), FG_PLAN_MAX_GOLDEN, FG_PLAN_MAX_COLS);
	if (golden->rows && golden->rows != rows)
		return fg_error_set(error, -EINVAL, "\"%s\": %zu rows, another has %u",
				    side(is_input), rows, golden->rows);
	if (*count == FG_GOLDEN_MAX_PARTS || (*count && (!name || !parts[0].name)))
		return fg_error_set(error, -EINVAL,
				    "\"%s\": one array without a name, or up to %u with names",
				    side(is_input), FG_GOLDEN_MAX_PARTS);
	for (uint32_t i = 0; i < *count; i++)
		if (strcmp(parts[i].name, name) == 0)
			return fg_error_set(error, -EINVAL, "\"%s\": '%.60s' is there twice",
					    side(is_input), name);
	*to = fg_arena_alloc(arena, rows, cols * sizeof(**to));
	if (name)
		copy = fg_arena_alloc(arena, strlen(name) + 1, 1);
	if (!*to || (name && !copy))
		return fg_error_set(error, -ENOMEM, "out of memory");
	if (name)
		strcpy(copy, name);
	golden->rows = (uint32_t)rows;
	parts[(*count)++] =
		(struct fg_golden_part){.name = copy, .cols = (uint32_t)cols, .rows = *to};
	return 0;
}

int fg_golden_set_tolerance(struct fg_golden *golden, double tolerance, struct fg_error *error)
{
	golden->tolerance = (float)tolerance;
	if (golden->tolerance > 0 && golden->tolerance <= 1)
		return 0;
	return fg_error_set(error, -EINVAL, "\"tolerance\" must be a number above 0, at most 1");
}

static const struct {
	const char *name;
	int (*read)(struct fg_golden *golden, const void *bytes, size_t size,
		    struct fg_arena *arena, struct fg_error *error);
} files[] = {
	{FG_GOLDEN_JSON, fg_golden_read_json},
	{FG_GOLDEN_NPZ, fg_golden_read_npz},
};

int fg_golden_load(struct fg_golden *golden, int dirfd, struct fg_arena *arena,
		   struct fg_error *error)
{
	bool found = false;

	memset(golden, 0, sizeof(*golden));
	golden->tolerance = FG_GOLDEN_TOLERANCE;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct fg_error reason;
		const void *bytes;
		size_t size;
		int result = fg_file_load(dirfd, files[i].name, FG_GOLDEN_MAX_BYTES, arena, &bytes,
					  &size, error);

		if (result == -ENOENT)
			continue;
		if (result)
			return result;
		if (found)
			return fg_error_set(error, -EINVAL,
					    FG_GOLDEN_JSON " and " FG_GOLDEN_NPZ
							   ": ship one of them");
		found = true;
		golden->from_npz = files[i].read == fg_golden_read_npz;
		result = files[i].read(golden, bytes, size, arena, &reason);
		if (!result && (!golden->input_count || !golden->output_count))
			result = fg_error_set(&reason, -EINVAL,
					      "must hold \"inputs\" and \"outputs\"");
		if (result)
			return fg_error_set(error, result, "%s: %s", files[i].name, reason.text);
	}
	return found ? 0 : -ENOENT;
}
