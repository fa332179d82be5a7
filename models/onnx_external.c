#include <errno.h>
#include <limits.h>
#include <string.h>
#include "models/onnx_external.h"

struct fg_onnx_file {
	struct fg_onnx_file *next;
	char name[NAME_MAX + 1];
	const void *bytes;
	size_t size;
};

static int load(struct fg_onnx_external *external, struct fg_text name,
		struct fg_onnx_file **loaded, struct fg_error *error)
{
	struct fg_onnx_file *file;
	int result;

	if (external->dirfd < 0)
		return fg_error_set(error, -EINVAL, "has external data, and there is no directory");
	if (!fg_file_plain_name(name))
		return fg_error_set(error, -EINVAL,
				    "its external data must be a plain file name in the model's "
				    "own directory (no '/', no '..')");
	if (external->file_count == FG_ONNX_MAX_EXTERNAL_FILES)
		return fg_error_set(error, -EINVAL,
				    "external data in more than %u files: save it in one",
				    FG_ONNX_MAX_EXTERNAL_FILES);
	file = fg_arena_alloc(external->arena, 1, sizeof(*file));
	if (!file)
		return fg_error_set(error, -ENOMEM, "out of memory");
	memcpy(file->name, name.at, name.length);
	result = fg_file_load(external->dirfd, file->name,
			      FG_ONNX_MAX_EXTERNAL_BYTES - external->file_bytes, external->arena,
			      &file->bytes, &file->size, error);
	if (result == -ENOENT)
		return fg_error_set(error, -ENOENT,
				    "its data is in '%.80s', which is not there: ship that file "
				    "with the model, under that name",
				    file->name);
	if (result)
		return result;
	file->next = external->files;
	external->files = file;
	external->file_count++;
	external->file_bytes += file->size;
	external->convertible += file->size;
	*loaded = file;
	return 0;
}

int fg_onnx_external_read(struct fg_onnx_external *external, struct fg_text name,
			  const uint8_t **bytes, size_t *size, struct fg_error *error)
{
	struct fg_onnx_file *file = external->files;
	int result = 0;

	while (file && !fg_text_is(name, file->name))
		file = file->next;
	if (!file)
		result = load(external, name, &file, error);
	if (result)
		return result;
	*bytes = file->bytes;
	*size = file->size;
	return 0;
}
