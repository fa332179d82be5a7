#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <zip.h>
#include "models/keras_zip.h"

#define MAX_ENTRIES   1024
#define MAX_EXPANSION 1032u /* of deflate: 258 bytes for every two bits */

static int no_memory(struct fg_keras_zip *zip)
{
	return fg_error_set(zip->error, -ENOMEM, "out of memory for the archive");
}

/* True for names with '/' between them, none of them empty (but the last one: a folder), "." or
 * "..", of printable characters without a backslash. */
static bool is_relative(const char *path)
{
	do {
		size_t length = strcspn(path, "/");

		if (length == 0 || (length == 1 && path[0] == '.') ||
		    (length == 2 && path[0] == '.' && path[1] == '.'))
			return false;
		for (size_t i = 0; i < length; i++)
			if ((unsigned char)path[i] < ' ' || path[i] == '\\' || path[i] == 0x7f)
				return false;
		path += length + (path[length] == '/');
	} while (*path);
	return true;
}

static int check_entry(struct fg_keras_zip *zip, zip_uint64_t index)
{
	const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
				    ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
	struct zip_stat entry;

	if (zip_stat_index(zip->archive, index, ZIP_FL_ENC_RAW, &entry) ||
	    (entry.valid & needed) != needed)
		return fg_error_set(zip->error, -EINVAL, "entry %llu of the archive is damaged",
				    (unsigned long long)index);
	if (!is_relative(entry.name))
		return fg_error_set(zip->error, -EINVAL,
				    "entry %llu of the archive has a name that leads elsewhere",
				    (unsigned long long)index);
	if (entry.encryption_method != ZIP_EM_NONE)
		return fg_error_set(zip->error, -EINVAL, "'%.80s' is encrypted", entry.name);
	if (entry.comp_method != ZIP_CM_STORE && entry.comp_method != ZIP_CM_DEFLATE)
		return fg_error_set(zip->error, -EINVAL,
				    "'%.80s' is compressed with method %u: only deflate is "
				    "supported",
				    entry.name, entry.comp_method);
	if (entry.size / MAX_EXPANSION > entry.comp_size)
		return fg_error_set(zip->error, -EINVAL,
				    "'%.80s' claims %llu bytes, but %llu cannot hold them",
				    entry.name, (unsigned long long)entry.size,
				    (unsigned long long)entry.comp_size);
	return 0;
}

static int check_entries(struct fg_keras_zip *zip)
{
	zip_int64_t count = zip_get_num_entries(zip->archive, 0);
	int result = 0;

	if (count > MAX_ENTRIES)
		return fg_error_set(zip->error, -EINVAL, "the archive has more than %d entries",
				    MAX_ENTRIES);
	for (zip_int64_t i = 0; !result && i < count; i++)
		result = check_entry(zip, (zip_uint64_t)i);
	return result;
}

int fg_keras_zip_open(struct fg_keras_zip *zip, const void *bytes, size_t size,
		      struct fg_error *error)
{
	zip_source_t *source;
	zip_error_t reason;
	int result;

	zip->error = error;
	zip_error_init(&reason);
	source = zip_source_buffer_create(bytes, size, 0, &reason);
	zip->archive =
		source ? zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &reason) : NULL;
	if (!zip->archive) {
		result = zip_error_code_zip(&reason) == ZIP_ER_EXISTS
				 ? fg_error_set(error, -EINVAL, "the archive has an entry twice")
				 : fg_error_set(error, -EINVAL, "not a .keras archive (%s)",
						zip_error_strerror(&reason));
		zip_source_free(source);
		zip_error_fini(&reason);
		return result;
	}
	zip_error_fini(&reason);
	result = check_entries(zip);
	if (result)
		fg_keras_zip_close(zip);
	return result;
}

void fg_keras_zip_close(struct fg_keras_zip *zip)
{
	zip_discard(zip->archive);
}

/* Exactly `size` bytes, after which the entry ends and its checksum is right. */
static int read_exactly(struct fg_keras_zip *zip, zip_file_t *file, const char *name, char *to,
			uint64_t size)
{
	zip_int64_t got = 1;
	char more;

	for (uint64_t done = 0; done < size && got > 0; done += (uint64_t)got) {
		got = zip_fread(file, to + done, size - done);
		if (got <= 0)
			return fg_error_set(zip->error, -EINVAL,
					    "'%s' is damaged, or ends before its %llu bytes", name,
					    (unsigned long long)size);
	}
	got = zip_fread(file, &more, 1);
	if (got)
		return fg_error_set(zip->error, -EINVAL,
				    "'%s' is damaged, or has more than the %llu bytes it claims",
				    name, (unsigned long long)size);
	return 0;
}

int fg_keras_zip_read(struct fg_keras_zip *zip, const char *name, uint64_t max,
		      struct fg_arena *arena, const void **bytes, size_t *size)
{
	struct zip_stat entry;
	zip_file_t *file;
	char *to;
	int result;

	if (zip_stat(zip->archive, name, ZIP_FL_ENC_RAW, &entry))
		return fg_error_set(zip->error, -ENOENT, "the archive holds no '%s'", name);
	if (entry.size > max)
		return fg_error_set(zip->error, -EINVAL,
				    "'%s' has %llu bytes, at most %llu are "
				    "read",
				    name, (unsigned long long)entry.size, (unsigned long long)max);
	to = fg_arena_alloc(arena, entry.size, 1);
	if (!to)
		return no_memory(zip);
	file = zip_fopen_index(zip->archive, entry.index, 0);
	if (!file)
		return fg_error_set(zip->error, -EINVAL, "'%s': %s", name,
				    zip_strerror(zip->archive));
	result = read_exactly(zip, file, name, to, entry.size);
	zip_fclose(file);
	*bytes = to;
	*size = entry.size;
	return result;
}
