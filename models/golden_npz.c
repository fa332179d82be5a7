/* numpy.savez: a zip of .npy files, one for each array. */
#include <errno.h>
#include <string.h>
#include <zip.h>
#include "models/golden_parts.h"
#include "models/npy.h"

#define MAX_NAME 200

/* Which side an array is on, and for which input or output; NULL: all of them. */
static bool parse_name(const char *array, bool *is_input, const char **port)
{
	*is_input = strncmp(array, "inputs", 6) == 0;
	if (!*is_input && strncmp(array, "outputs", 7) != 0)
		return false;
	array += *is_input ? 6 : 7;
	*port = *array == '/' ? array + 1 : NULL;
	return *array == '/' ? array[1] != 0 : *array == 0;
}

static int take_rows(struct fg_golden *golden, struct fg_arena *arena, const struct fg_npy *npy,
		     bool is_input, const char *port, struct fg_error *error)
{
	size_t rows = npy->dims ? npy->shape[0] : 0;
	float *to;
	int result;

	if (npy->fortran && npy->dims > 1)
		return fg_error_set(error, -EINVAL,
				    "Fortran order: numpy.ascontiguousarray makes C order");
	result = fg_golden_add(golden, arena, is_input, port, rows, rows ? npy->count / rows : 0,
			       &to, error);
	for (size_t i = 0; i < npy->count && !result; i++)
		to[i] = (float)fg_npy_number(npy, i);
	return result;
}

static int take_array(struct fg_golden *golden, struct fg_arena *arena, const char *array,
		      const void *bytes, size_t size, struct fg_error *error)
{
	const char *port;
	struct fg_npy npy;
	bool is_input;
	int result = fg_npy_open(&npy, bytes, size, error);

	if (result)
		return result;
	if (npy.kind == 'f' && npy.bytes == 2)
		return fg_error_set(error, -EINVAL, "holds float16: save it as float32");
	if (strcmp(array, "tolerance") == 0 && npy.count == 1)
		return fg_golden_set_tolerance(golden, fg_npy_number(&npy, 0), error);
	if (parse_name(array, &is_input, &port))
		return take_rows(golden, arena, &npy, is_input, port, error);
	return fg_error_set(error, -EINVAL,
			    "is neither \"inputs\", \"outputs\", \"inputs/NAME\", \"outputs/NAME\" "
			    "nor \"tolerance\"");
}

/* Reads one entry whole. What it says of its size is checked by reading that many bytes; `left` is
 * what all entries together may still have. */
static int read_entry(zip_t *zip, const zip_stat_t *entry, struct fg_arena *arena, size_t *left,
		      void **bytes, struct fg_error *error)
{
	zip_file_t *file;
	zip_int64_t got;

	if (entry->size > *left)
		return fg_error_set(error, -EFBIG, "holds more than %u bytes with the others",
				    FG_GOLDEN_MAX_BYTES);
	*left -= entry->size;
	*bytes = fg_arena_alloc(arena, entry->size, 1);
	if (!*bytes)
		return fg_error_set(error, -ENOMEM, "out of memory");
	file = zip_fopen_index(zip, entry->index, 0);
	if (!file)
		return fg_error_set(error, -EINVAL, "%.120s", zip_strerror(zip));
	got = zip_fread(file, *bytes, entry->size);
	zip_fclose(file);
	if (got != (zip_int64_t)entry->size)
		return fg_error_set(error, -EINVAL, "its data is damaged or cut short");
	return 0;
}

static int read_all(struct fg_golden *golden, zip_t *zip, struct fg_arena *arena,
		    struct fg_error *error)
{
	const zip_uint64_t wanted = ZIP_STAT_NAME | ZIP_STAT_INDEX | ZIP_STAT_SIZE;
	zip_int64_t count = zip_get_num_entries(zip, 0);
	size_t left = FG_GOLDEN_MAX_BYTES;

	for (zip_int64_t i = 0; i < count; i++) {
		char array[MAX_NAME];
		struct fg_error reason = {.text = "has no name or no size"};
		zip_stat_t entry = {.valid = 0};
		int result = -EINVAL;
		size_t length;
		void *bytes = NULL;

		if (zip_stat_index(zip, (zip_uint64_t)i, 0, &entry) ||
		    (entry.valid & wanted) != wanted)
			return fg_error_set(error, -EINVAL, "entry %lld %s", (long long)i,
					    reason.text);
		length = strlen(entry.name);
		if (length < 5 || length >= sizeof(array) ||
		    strcmp(entry.name + length - 4, ".npy") != 0)
			return fg_error_set(error, -EINVAL, "entry '%.60s' is no array (.npy)",
					    entry.name);
		memcpy(array, entry.name, length - 4);
		array[length - 4] = 0;
		result = read_entry(zip, &entry, arena, &left, &bytes, &reason);
		if (!result)
			result = take_array(golden, arena, array, bytes, entry.size, &reason);
		if (result)
			return fg_error_set(error, result, "array '%.60s': %.160s", array,
					    reason.text);
	}
	return 0;
}

int fg_golden_read_npz(struct fg_golden *golden, const void *bytes, size_t size,
		       struct fg_arena *arena, struct fg_error *error)
{
	zip_error_t why;
	zip_source_t *source;
	zip_t *zip;
	int result;

	zip_error_init(&why);
	source = zip_source_buffer_create(bytes, size, 0, &why);
	zip = source ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL;
	if (!zip) {
		result = fg_error_set(error, -EINVAL, "%.150s", zip_error_strerror(&why));
		zip_source_free(source);
		zip_error_fini(&why);
		return result;
	}
	zip_error_fini(&why);
	result = read_all(golden, zip, arena, error);
	zip_discard(zip);
	return result;
}
