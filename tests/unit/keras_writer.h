/* keras_writer.h: Keras models for tests, written with libhdf5 into memory, so that each test says
 * in one line what is odd about its file. */
#ifndef FG_TESTS_KERAS_WRITER_H
#define FG_TESTS_KERAS_WRITER_H

#include <hdf5.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file's bytes; free them. */
struct keras_bytes {
	uint8_t *at;
	size_t length;
};

/* Shapes: dimensions, 0 behind the last. */
#define KERAS_DIMS(...) ((const hsize_t[]){__VA_ARGS__, 0})

/* JSON of layers. Whoever builds models uses these and nothing longer. */
#define KERAS_INPUT(cols)                                                                          \
	"{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"x\", \"batch_shape\": "         \
	"[null, " cols "], \"dtype\": \"float32\"}, \"name\": \"x\", \"inbound_nodes\": []}"
#define KERAS_LAYER(class, name, config)                                                           \
	"{\"class_name\": \"" class "\", \"config\": {\"name\": \"" name "\"" config "}}"
#define KERAS_CALLED(class, name, config, nodes)                                                   \
	"{\"class_name\": \"" class "\", \"config\": {\"name\": \"" name "\"" config               \
				    "}, \"name\": \"" name "\", \"inbound_nodes\": [" nodes "]}"
#define KERAS_DENSE(name, units)                                                                   \
	KERAS_LAYER("Dense", name,                                                                 \
		    ", \"units\": " units ", \"use_bias\": true, \"activation\": \"linear\"")
#define KERAS_SEQUENTIAL(layers)                                                                   \
	"{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": [" layers "]}" \
	"}"
#define KERAS_FUNCTIONAL(inputs, outputs, layers)                                                  \
	"{\"class_name\": \"Functional\", \"config\": {\"name\": \"m\", \"layers\": [" layers      \
	"], \"input_layers\": " inputs ", \"output_layers\": " outputs "}}"

static inline hid_t keras_create(void)
{
	static unsigned int number;
	hid_t access = H5Pcreate(H5P_FILE_ACCESS), file;
	char name[32];

	H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
	H5Pset_fapl_core(access, 1 << 16, false);
	H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
	snprintf(name, sizeof(name), "made-%u", number++);
	file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, access);
	H5Pclose(access);
	return file;
}

/* Closes the file. */
static inline struct keras_bytes keras_finish(hid_t file)
{
	struct keras_bytes bytes = {NULL, 0};

	H5Fflush(file, H5F_SCOPE_GLOBAL);
	bytes.length = (size_t)H5Fget_file_image(file, NULL, 0);
	bytes.at = malloc(bytes.length);
	H5Fget_file_image(file, bytes.at, bytes.length);
	H5Fclose(file);
	return bytes;
}

static inline hid_t keras_group(hid_t file, const char *path)
{
	hid_t links = H5Pcreate(H5P_LINK_CREATE), group;

	H5Pset_create_intermediate_group(links, 1);
	if (H5Lexists(file, path, H5P_DEFAULT) > 0)
		group = H5Gopen2(file, path, H5P_DEFAULT);
	else
		group = H5Gcreate2(file, path, links, H5P_DEFAULT, H5P_DEFAULT);
	H5Pclose(links);
	return group;
}

/* A string type: `bytes` each, or H5T_VARIABLE. */
static inline hid_t keras_string(size_t bytes)
{
	hid_t type = H5Tcopy(H5T_C_S1);

	H5Tset_size(type, bytes);
	H5Tset_strpad(type, H5T_STR_NULLPAD);
	return type;
}

static inline void keras_attribute(hid_t object, const char *name, hid_t type, hid_t space,
				   const void *data)
{
	hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);

	H5Awrite(attribute, type, data);
	H5Aclose(attribute);
	H5Sclose(space);
}

/* One text, of any length or (`fixed`) of its own. */
static inline void keras_text(hid_t object, const char *name, const char *text, bool fixed)
{
	hid_t type = keras_string(fixed ? strlen(text) : H5T_VARIABLE);

	keras_attribute(object, name, type, H5Screate(H5S_SCALAR),
			fixed ? (const void *)text : &text);
	H5Tclose(type);
}

#define KERAS_NAME_BYTES 64

/* A list of names, "a b c", of KERAS_NAME_BYTES each, or (`fixed` false) of any length. */
static inline void keras_names(hid_t object, const char *name, const char *list, bool fixed)
{
	static char names[64][KERAS_NAME_BYTES];
	const char *pointers[64];
	char copy[2048], *rest = copy, *one;
	hsize_t count = 0;
	hid_t type = keras_string(fixed ? KERAS_NAME_BYTES : H5T_VARIABLE);

	memset(names, 0, sizeof(names));
	snprintf(copy, sizeof(copy), "%s", list);
	while ((one = strsep(&rest, " ")))
		if (*one) {
			snprintf(names[count], KERAS_NAME_BYTES, "%s", one);
			pointers[count] = names[count];
			count++;
		}
	keras_attribute(object, name, type, H5Screate_simple(1, &count, NULL),
			fixed ? (const void *)names : pointers);
	H5Tclose(type);
}

/* Number `i` of what keras_dataset writes: exact as float16. */
static inline float keras_number(size_t i)
{
	return (float)((int)(i * 7 % 31) - 15) / 16;
}

static inline hid_t keras_space(const hsize_t *dims, size_t *count)
{
	int rank = 0;

	for (*count = 1; dims[rank]; rank++)
		*count *= dims[rank];
	return H5Screate_simple(rank, dims, NULL);
}

/* A dataset of that type, stored as `plist` says, and (`written`) its numbers. */
static inline void keras_dataset_as(hid_t file, const char *path, const hsize_t *dims, hid_t type,
				    hid_t plist, bool written)
{
	hid_t links = H5Pcreate(H5P_LINK_CREATE), space, set;
	size_t count;
	float *data;

	space = keras_space(dims, &count);
	H5Pset_create_intermediate_group(links, 1);
	set = H5Dcreate2(file, path, type, space, links, plist, H5P_DEFAULT);
	data = written ? malloc(count * sizeof(*data)) : NULL;
	for (size_t i = 0; data && i < count; i++)
		data[i] = keras_number(i);
	if (data)
		H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
	free(data);
	H5Dclose(set);
	H5Sclose(space);
	H5Pclose(links);
}

static inline void keras_dataset(hid_t file, const char *path, const hsize_t *dims)
{
	keras_dataset_as(file, path, dims, H5T_IEEE_F32LE, H5P_DEFAULT, true);
}

/* A file with this model and Keras 3's version; its layers' variables come next. */
static inline hid_t keras_start(const char *config)
{
	hid_t file = keras_create(), root = H5Gopen2(file, "/", H5P_DEFAULT);

	keras_text(root, "keras_version", "3.15.1", false);
	keras_text(root, "model_config", config, false);
	H5Gclose(root);
	return file;
}

/* The variables of a layer of an .h5 file: their names, "LAYER/a LAYER/b". */
static inline void keras_weight_names(hid_t file, const char *layer, const char *names)
{
	char path[256];
	hid_t group;

	snprintf(path, sizeof(path), "model_weights/%s", layer);
	group = keras_group(file, path);
	keras_names(group, "weight_names", names, true);
	H5Gclose(group);
}

/* One of them. */
static inline void keras_weight(hid_t file, const char *layer, const char *name,
				const hsize_t *dims)
{
	char path[256];

	snprintf(path, sizeof(path), "model_weights/%s/%s/%s", layer, layer, name);
	keras_dataset(file, path, dims);
}

/* Kernel and bias of a Dense layer. */
static inline void keras_dense(hid_t file, const char *layer, hsize_t in_cols, hsize_t units)
{
	char names[256];

	snprintf(names, sizeof(names), "%s/kernel %s/bias", layer, layer);
	keras_weight_names(file, layer, names);
	keras_weight(file, layer, "kernel", KERAS_DIMS(in_cols, units));
	keras_weight(file, layer, "bias", KERAS_DIMS(units));
}

#endif
