#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "models/file.h"
#include "models/keras.h"
#include "models/keras_model.h"
#include "models/keras_zip.h"

#define MAX_JSON_BYTES (16u << 20)

static int load_json(struct fg_text text, const char *what, json_t **json, struct fg_error *error)
{
	json_error_t where;

	if (text.length > MAX_JSON_BYTES)
		return fg_error_set(error, -EINVAL, "%s has more than %u MiB", what,
				    MAX_JSON_BYTES >> 20);
	*json = json_loadb(text.at, text.length, JSON_REJECT_DUPLICATES, &where);
	if (!*json)
		return fg_error_set(error, -EINVAL, "%s: line %d, column %d: %s", what, where.line,
				    where.column, where.text);
	return 0;
}

/* "3.15.1" -> 3. Keras 1 did not write a version. */
static unsigned major_version(const char *version)
{
	unsigned long major = version ? strtoul(version, NULL, 10) : 1;

	return major > 1000 ? 1000 : (unsigned)major;
}

static int read_model(struct fg_keras *keras, struct fg_text config, const char *what)
{
	json_t *json;
	int result = load_json(config, what, &json, keras->error);

	if (result)
		return result;
	keras->graph->opset = FG_KERAS_OPSET;
	result = fg_keras_read_model(keras, json);
	json_decref(json);
	return result;
}

/* ---- .h5 ---- */

static int read_h5(struct fg_keras *keras)
{
	struct fg_keras_h5 *h5 = keras->h5;
	struct fg_text version = {NULL, 0}, config;
	int result = fg_keras_h5_text(h5, "", "keras_version", &version);

	if (result && result != -ENOENT)
		return result;
	keras->version = major_version(version.at);
	result = fg_keras_h5_text(h5, "", "model_config", &config);
	if (result == -ENOENT)
		return fg_error_set(keras->error, -EINVAL,
				    "it holds no model, perhaps only weights: save the whole model "
				    "with model.save");
	return result ? result : read_model(keras, config, "model_config");
}

int fg_keras_parse_h5(struct fg_graph *graph, const void *bytes, size_t size,
		      struct fg_error *error)
{
	struct fg_keras keras = {.graph = graph, .error = error};
	struct fg_keras_h5 h5;
	int result;

	memset(graph, 0, sizeof(*graph));
	result = fg_keras_h5_open(&h5, bytes, size, &graph->arena, error);
	if (!result) {
		keras.h5 = &h5;
		result = read_h5(&keras);
		fg_keras_h5_close(&h5);
	}
	if (result)
		fg_graph_free(graph);
	return result;
}

/* ---- .keras ---- */

struct archive {
	struct fg_arena arena; /* owns the three */
	struct fg_text config;
	struct fg_text metadata;
	struct fg_text weights;
};

static int read_entry(struct fg_keras_zip *zip, const char *name, uint64_t max,
		      struct fg_arena *arena, struct fg_text *text)
{
	const void *bytes;
	int result = fg_keras_zip_read(zip, name, max, arena, &bytes, &text->length);

	text->at = bytes;
	return result == -ENOENT ? -EINVAL : result;
}

static int read_archive(struct archive *archive, const void *bytes, size_t size,
			struct fg_error *error)
{
	struct fg_keras_zip zip;
	int result = fg_keras_zip_open(&zip, bytes, size, error);

	if (result)
		return result;
	result = read_entry(&zip, "config.json", MAX_JSON_BYTES, &archive->arena, &archive->config);
	if (!result)
		result = read_entry(&zip, "metadata.json", MAX_JSON_BYTES, &archive->arena,
				    &archive->metadata);
	if (!result)
		result = read_entry(&zip, "model.weights.h5", FG_FILE_MAX_BYTES, &archive->arena,
				    &archive->weights);
	fg_keras_zip_close(&zip);
	return result;
}

static int read_version(struct fg_keras *keras, struct fg_text metadata)
{
	json_t *json;
	int result = load_json(metadata, "metadata.json", &json, keras->error);

	if (result)
		return result;
	keras->version = major_version(json_string_value(json_object_get(json, "keras_version")));
	json_decref(json);
	return 0;
}

static int read_zip(struct fg_keras *keras, const struct archive *archive)
{
	struct fg_keras_h5 h5;
	int result = read_version(keras, archive->metadata);

	if (!result)
		result = fg_keras_h5_open(&h5, archive->weights.at, archive->weights.length,
					  &keras->graph->arena, keras->error);
	if (result)
		return result;
	keras->h5 = &h5;
	result = read_model(keras, archive->config, "config.json");
	fg_keras_h5_close(&h5);
	return result;
}

int fg_keras_parse_zip(struct fg_graph *graph, const void *bytes, size_t size,
		       struct fg_error *error)
{
	struct fg_keras keras = {.graph = graph, .zipped = true, .error = error};
	struct archive archive = {.arena = {NULL}};
	int result;

	memset(graph, 0, sizeof(*graph));
	result = read_archive(&archive, bytes, size, error);
	if (!result)
		result = read_zip(&keras, &archive);
	fg_arena_free(&archive.arena);
	if (result)
		fg_graph_free(graph);
	return result;
}

/* ---- files ---- */

static int load(struct fg_graph *graph, int dirfd, const char *name,
		int (*parse)(struct fg_graph *, const void *, size_t, struct fg_error *),
		struct fg_error *error)
{
	struct fg_arena file = {NULL};
	struct fg_error reason;
	const void *bytes;
	size_t size;
	int result = fg_file_load(dirfd, name, FG_FILE_MAX_BYTES, &file, &bytes, &size, error);

	if (!result) {
		result = parse(graph, bytes, size, &reason);
		if (result)
			fg_error_set(error, result, "%.60s: %s", name, reason.text);
	}
	fg_arena_free(&file);
	return result;
}

int fg_keras_load_h5(struct fg_graph *graph, int dirfd, const char *name, struct fg_error *error)
{
	return load(graph, dirfd, name, fg_keras_parse_h5, error);
}

int fg_keras_load_zip(struct fg_graph *graph, int dirfd, const char *name, struct fg_error *error)
{
	return load(graph, dirfd, name, fg_keras_parse_zip, error);
}
