#include <errno.h>
#include <hdf5.h>
#include <stdbool.h>
#include <string.h>
#include "models/file.h"
#include "models/keras_h5_parts.h"

#define MAX_NAME	    1023u
#define MAX_ATTRIBUTE_BYTES (16u << 20)
#define MAX_LIST	    65536u
#define MAX_PARTS	    1024u /* of a list */

/* ---- errors ---- */

static herr_t keep_first(unsigned int n, const H5E_error2_t *entry, void *text)
{
	if (n == 0)
		snprintf(text, sizeof(((struct fg_error *)0)->text), "%s", entry->desc);
	return 0;
}

int fg_keras_h5_damaged(const struct fg_keras_h5 *h5, const char *what)
{
	struct fg_error reason = {"no reason given"};

	H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, reason.text);
	H5Eclear2(H5E_DEFAULT);
	return fg_error_set(h5->error, -EINVAL, "%.80s: damaged HDF5 (%s)", what, reason.text);
}

int fg_keras_h5_no_memory(const struct fg_keras_h5 *h5)
{
	return fg_error_set(h5->error, -ENOMEM, "out of memory for the model's variables");
}

/* ---- the file ---- */

/*
 * libhdf5 copies a file image several times unless told otherwise. These callbacks give it the one
 * image that there is, which it only reads, wherever it asks for a copy.
 */
static void *image_get(size_t size, H5FD_file_image_op_t op, void *image)
{
	(void)size;
	(void)op;
	return image;
}

static void *image_copy(void *to, const void *from, size_t size, H5FD_file_image_op_t op,
			void *image)
{
	(void)from;
	(void)size;
	(void)op;
	(void)image;
	return to;
}

static void *image_grow(void *at, size_t size, H5FD_file_image_op_t op, void *image)
{
	(void)at;
	(void)size;
	(void)op;
	(void)image;
	return NULL;
}

static herr_t image_free(void *at, H5FD_file_image_op_t op, void *image)
{
	(void)at;
	(void)op;
	(void)image;
	return 0;
}

static void *image_same(void *image)
{
	return image;
}

static herr_t image_forget(void *image)
{
	(void)image;
	return 0;
}

static int set_image(hid_t access, void *bytes, size_t size)
{
	H5FD_file_image_callbacks_t callbacks = {image_get,  image_copy,   image_grow, image_free,
						 image_same, image_forget, bytes};

	return H5Pset_fapl_core(access, 1, false) < 0 ||
	       H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) < 0 ||
	       H5Pset_file_image_callbacks(access, &callbacks) < 0 ||
	       H5Pset_file_image(access, bytes, size) < 0;
}

int fg_keras_h5_open(struct fg_keras_h5 *h5, const void *bytes, size_t size, struct fg_arena *arena,
		     struct fg_error *error)
{
	/*
	 * libhdf5 tries the name although it has the bytes, and looks where we are unless it is an
	 * absolute one: so there must never be such a file. A name that is open already would give
	 * the file behind it again.
	 */
	static unsigned int number;
	char name[32];
	hid_t access;
	int result = 0;

	*h5 = (struct fg_keras_h5){.arena = arena, .left_bytes = FG_FILE_MAX_BYTES, .error = error};
	if (size == 0)
		return fg_error_set(error, -EINVAL, "the file is empty");
	/* No plugins: a file names the filters that it wants loaded. */
	if (H5open() < 0 || H5PLset_loading_state(0) < 0 ||
	    H5Eset_auto2(H5E_DEFAULT, NULL, NULL) < 0)
		return fg_error_set(error, -EINVAL, "libhdf5 does not start");
	access = H5Pcreate(H5P_FILE_ACCESS);
	snprintf(name, sizeof(name), "/dev/null/%u", number++);
	if (access < 0 || set_image(access, (void *)(uintptr_t)bytes, size) ||
	    (h5->file = H5Fopen(name, H5F_ACC_RDONLY, access)) < 0)
		result = fg_keras_h5_damaged(h5, "the file");
	if (access >= 0)
		H5Pclose(access);
	return result;
}

void fg_keras_h5_close(struct fg_keras_h5 *h5)
{
	H5Fclose(h5->file);
	H5Eclear2(H5E_DEFAULT);
}

/* ---- groups ---- */

/* Opens `name` in the group `parent`. `path` is for errors. */
static int open_child(const struct fg_keras_h5 *h5, const char *path, hid_t parent,
		      const char *name, hid_t *child)
{
	H5L_info_t link;
	H5I_type_t type;
	htri_t there;

	if (H5Iget_type(parent) != H5I_GROUP)
		return fg_error_set(h5->error, -EINVAL, "'%.120s' leads through a dataset", path);
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return fg_error_set(h5->error, -EINVAL, "'%.120s' is not a plain path", path);
	there = H5Lexists(parent, name, H5P_DEFAULT);
	if (there == 0)
		return fg_error_set(h5->error, -ENOENT, "'%.120s' is not in the file", path);
	if (there < 0 || H5Lget_info(parent, name, &link, H5P_DEFAULT) < 0)
		return fg_keras_h5_damaged(h5, path);
	if (link.type != H5L_TYPE_HARD)
		return fg_error_set(h5->error, -EINVAL,
				    "'%.120s' goes through a soft or external link: save the model "
				    "with Keras",
				    path);
	*child = H5Oopen(parent, name, H5P_DEFAULT);
	if (*child < 0)
		return fg_keras_h5_damaged(h5, path);
	type = H5Iget_type(*child);
	if (type == H5I_GROUP || type == H5I_DATASET)
		return 0;
	H5Oclose(*child);
	return fg_error_set(h5->error, -EINVAL, "'%.120s' is neither a group nor a dataset", path);
}

int fg_keras_h5_open_path(const struct fg_keras_h5 *h5, const char *path, hid_t *object)
{
	const char *rest = path;
	int result = 0;

	*object = H5Oopen(h5->file, "/", H5P_DEFAULT);
	if (*object < 0)
		return fg_keras_h5_damaged(h5, "the root group");
	while (!result && *rest) {
		size_t length = strcspn(rest, "/");
		hid_t parent = *object;
		char name[MAX_NAME + 1];

		snprintf(name, sizeof(name), "%.*s", (int)length, rest);
		if (length > MAX_NAME)
			result = fg_error_set(h5->error, -EINVAL, "'%.40s...' is too long a name",
					      rest);
		else
			result = open_child(h5, path, parent, name, object);
		H5Oclose(parent);
		rest += length + (rest[length] == '/');
	}
	return result;
}

int fg_keras_h5_count(struct fg_keras_h5 *h5, const char *path, uint64_t *count)
{
	H5G_info_t info;
	hid_t group;
	int result = fg_keras_h5_open_path(h5, path, &group);

	if (result)
		return result;
	if (H5Gget_info(group, &info) < 0)
		result = fg_keras_h5_damaged(h5, path);
	H5Oclose(group);
	*count = info.nlinks;
	return result;
}

/* ---- attributes ---- */

struct attribute {
	hid_t object;
	hid_t id;
	hid_t type;
	hssize_t count; /* of its elements */
	size_t bytes;	/* of each; 0: of any length */
};

static void close_attribute(const struct attribute *attribute)
{
	if (attribute->type >= 0)
		H5Tclose(attribute->type);
	if (attribute->id >= 0)
		H5Aclose(attribute->id);
	H5Oclose(attribute->object);
}

static int too_long(const struct fg_keras_h5 *h5, const char *name)
{
	return fg_error_set(h5->error, -EINVAL, "attribute %s has more than %u MiB", name,
			    MAX_ATTRIBUTE_BYTES >> 20);
}

static int measure_attribute(const struct fg_keras_h5 *h5, const char *name,
			     struct attribute *attribute)
{
	hid_t space = H5Aget_space(attribute->id);

	attribute->type = H5Aget_type(attribute->id);
	if (space < 0 || attribute->type < 0) {
		if (space >= 0)
			H5Sclose(space);
		return fg_keras_h5_damaged(h5, name);
	}
	attribute->count = H5Sget_simple_extent_type(space) == H5S_NULL
				   ? 0
				   : H5Sget_simple_extent_npoints(space);
	H5Sclose(space);
	/* numpy has no empty list of strings: Keras writes one of numbers. */
	if (attribute->count == 0)
		return 0;
	if (attribute->count < 0)
		return fg_keras_h5_damaged(h5, name);
	if (H5Tget_class(attribute->type) != H5T_STRING || H5Tcommitted(attribute->type) != 0)
		return fg_error_set(h5->error, -EINVAL, "attribute %s is not text", name);
	attribute->bytes = H5Tis_variable_str(attribute->type) ? 0 : H5Tget_size(attribute->type);
	if ((uint64_t)attribute->count > MAX_LIST)
		return fg_error_set(h5->error, -EINVAL, "attribute %s has more than %u names", name,
				    MAX_LIST);
	if (attribute->bytes > MAX_ATTRIBUTE_BYTES / (size_t)attribute->count)
		return too_long(h5, name);
	return 0;
}

static int open_attribute(const struct fg_keras_h5 *h5, const char *path, const char *name,
			  struct attribute *attribute)
{
	htri_t there;
	int result;

	*attribute = (struct attribute){.id = H5I_INVALID_HID, .type = H5I_INVALID_HID};
	result = fg_keras_h5_open_path(h5, path, &attribute->object);
	if (result)
		return result;
	there = H5Aexists(attribute->object, name);
	if (there == 0)
		result = fg_error_set(h5->error, -ENOENT, "'/%.80s' has no attribute %s", path,
				      name);
	else if (there < 0 || (attribute->id = H5Aopen(attribute->object, name, H5P_DEFAULT)) < 0)
		result = fg_keras_h5_damaged(h5, name);
	else
		result = measure_attribute(h5, name, attribute);
	if (result)
		close_attribute(attribute);
	return result;
}

/* A type of strings in memory, as long as those of the attribute. */
static hid_t string_type(const struct attribute *attribute)
{
	hid_t type = H5Tcopy(H5T_C_S1);

	if (type < 0)
		return type;
	if (H5Tset_size(type, attribute->bytes ? attribute->bytes : H5T_VARIABLE) >= 0 &&
	    H5Tset_cset(type, H5Tget_cset(attribute->type)) >= 0 &&
	    H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0)
		return type;
	H5Tclose(type);
	return H5I_INVALID_HID;
}

static int copy_texts(const struct fg_keras_h5 *h5, const char *name, char *const *found,
		      size_t count, struct fg_text *texts)
{
	size_t left = MAX_ATTRIBUTE_BYTES;

	for (size_t i = 0; i < count; i++) {
		size_t length = found[i] ? strlen(found[i]) : 0;
		char *copy;

		if (length > left)
			return too_long(h5, name);
		left -= length;
		copy = fg_arena_alloc(h5->arena, length + 1, 1);
		if (!copy)
			return fg_keras_h5_no_memory(h5);
		if (length)
			memcpy(copy, found[i], length);
		texts[i] = (struct fg_text){copy, length};
	}
	return 0;
}

/*
 * Strings of any length, which libhdf5 allocates: each no larger than the file, but they may all be
 * the same bytes of it. There is no way to ask before; the process's limit of memory ends that.
 */
static int read_variable(const struct fg_keras_h5 *h5, const struct attribute *attribute,
			 hid_t type, const char *name, struct fg_text *texts)
{
	size_t count = (size_t)attribute->count;
	char **found = fg_arena_alloc(h5->arena, count, sizeof(*found));
	int result;

	if (!found)
		return fg_keras_h5_no_memory(h5);
	if (H5Aread(attribute->id, type, found) < 0)
		return fg_keras_h5_damaged(h5, name);
	result = copy_texts(h5, name, found, count, texts);
	for (size_t i = 0; i < count; i++)
		H5free_memory(found[i]);
	return result;
}

/* All strings of the attribute, each `bytes` + 1 bytes behind the one before. */
static int read_fixed(const struct fg_keras_h5 *h5, const struct attribute *attribute, hid_t type,
		      const char *name, struct fg_text *texts)
{
	size_t count = (size_t)attribute->count, bytes = attribute->bytes;
	char *all = fg_arena_alloc(h5->arena, count, bytes);

	if (!all)
		return fg_keras_h5_no_memory(h5);
	if (H5Aread(attribute->id, type, all) < 0)
		return fg_keras_h5_damaged(h5, name);
	for (size_t i = 0; i < count; i++) {
		size_t length = strnlen(all + i * bytes, bytes);
		char *copy = fg_arena_alloc(h5->arena, length + 1, 1);

		if (!copy)
			return fg_keras_h5_no_memory(h5);
		texts[i] = (struct fg_text){memcpy(copy, all + i * bytes, length), length};
	}
	return 0;
}

static int read_attribute(const struct fg_keras_h5 *h5, const struct attribute *attribute,
			  const char *name, struct fg_text *texts)
{
	hid_t type = string_type(attribute);
	int result;

	if (type < 0)
		return fg_keras_h5_damaged(h5, name);
	if (attribute->bytes)
		result = read_fixed(h5, attribute, type, name, texts);
	else
		result = read_variable(h5, attribute, type, name, texts);
	H5Tclose(type);
	return result;
}

int fg_keras_h5_text(struct fg_keras_h5 *h5, const char *path, const char *attribute,
		     struct fg_text *text)
{
	struct attribute found;
	int result = open_attribute(h5, path, attribute, &found);

	if (result)
		return result;
	if (found.count != 1)
		result =
			fg_error_set(h5->error, -EINVAL, "attribute %s is not one text", attribute);
	else
		result = read_attribute(h5, &found, attribute, text);
	close_attribute(&found);
	return result;
}

/* Adds the strings of one attribute to (*names)[*count]. */
static int add_names(struct fg_keras_h5 *h5, const char *path, const char *attribute,
		     struct fg_text **names, uint32_t *count)
{
	struct attribute found;
	struct fg_text *longer;
	int result = open_attribute(h5, path, attribute, &found);

	if (result)
		return result;
	if (found.count > MAX_LIST - *count)
		result = fg_error_set(h5->error, -EINVAL, "attribute %s has more than %u names",
				      attribute, MAX_LIST);
	longer = result ? NULL
			: fg_arena_alloc(h5->arena, *count + (size_t)found.count, sizeof(*longer));
	if (!result && !longer)
		result = fg_keras_h5_no_memory(h5);
	if (!result && *count)
		memcpy(longer, *names, *count * sizeof(*longer));
	if (!result && found.count)
		result = read_attribute(h5, &found, attribute, longer + *count);
	close_attribute(&found);
	if (result)
		return result;
	*names = longer;
	*count += (uint32_t)found.count;
	return 0;
}

int fg_keras_h5_names(struct fg_keras_h5 *h5, const char *path, const char *attribute,
		      const struct fg_text **names, uint32_t *count)
{
	struct fg_text *list = NULL;
	char part[64];
	int result;

	*count = 0;
	result = add_names(h5, path, attribute, &list, count);
	if (result == -ENOENT) {
		uint32_t parts = 0;

		do {
			snprintf(part, sizeof(part), "%s%u", attribute, parts);
			result = add_names(h5, path, part, &list, count);
		} while (!result && ++parts < MAX_PARTS);
		if (result == -ENOENT && parts)
			result = 0;
	}
	*names = list;
	return result;
}
