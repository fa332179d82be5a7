#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "models/keras.h"
#include "models/model.h"
#include "models/model_files.h"
#include "models/onnx.h"

static const struct {
	const char *ending;
	int (*load)(struct fg_graph *graph, int dirfd, const char *name, struct fg_error *error);
} readers[] = {
	{".onnx", fg_onnx_load},
	{".h5", fg_keras_load_h5},
	{".hdf5", fg_keras_load_h5},
	{".keras", fg_keras_load_zip},
};

/* The model's file in `dirfd`, found by opening: flipgate-pack may not look otherwise. A link
 * counts, and so does what cannot be looked at: reading it then says what is wrong. */
static int find_file(int dirfd, const char **name, struct fg_error *error)
{
#define NAME(file) file,
	static const char *const names[] = {FG_MODEL_FILES(NAME)};
#undef NAME

	*name = NULL;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int fd = openat(dirfd, names[i], O_PATH | O_NOFOLLOW | O_CLOEXEC);

		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0) {
			*name = names[i];
			return 0;
		}
		close(fd);
		if (*name)
			return fg_error_set(
				error, -EINVAL,
				"%s and %s: a version holds one model, remove the other", *name,
				names[i]);
		*name = names[i];
	}
	if (*name)
		return 0;
	return fg_error_set(error, -ENOENT, "no model.onnx, model.h5 or model.keras in there");
}

int fg_model_load(struct fg_graph *graph, int dirfd, const char *name, struct fg_error *error)
{
	const char *ending;
	int result = name ? 0 : find_file(dirfd, &name, error);

	if (result)
		return result;
	ending = strrchr(name, '.');
	for (size_t i = 0; ending && i < sizeof(readers) / sizeof(readers[0]); i++)
		if (strcasecmp(ending, readers[i].ending) == 0)
			return readers[i].load(graph, dirfd, name, error);
	return fg_error_set(error, -EINVAL,
			    "%.100s: not a model by its name; .onnx, .h5 and .keras are", name);
}
