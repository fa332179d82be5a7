#include "userspace/daemon/repository_remarks.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "models/model_files.h"
#include "userspace/daemon/repository.h"

#define DIGITS	    "0123456789"
#define MAX_ENTRIES 256 /* of a folder that is no version */

void fg_remarks_say(const struct fg_remarks_on *on, const char *path, const char *format, ...)
{
	struct fg_remark remark = {.version = on->version, .place = fg_repository_place(on->base)};
	va_list args;

	snprintf(remark.model, sizeof(remark.model), "%s", on->model);
	snprintf(remark.path, sizeof(remark.path), "%.*s", (int)sizeof(remark.path) - 1, path);
	va_start(args, format);
	vsnprintf(remark.reason, sizeof(remark.reason), format, args);
	va_end(args);
	fg_remarks_add(on->remarks, &remark);
}

/* ---- what a folder holds ---- */

struct contents {
	uint32_t entries;
	bool model;		  /* one of FG_MODEL_FILES */
	bool saved_model;	  /* TensorFlow's own format */
	bool version;		  /* a folder that could be a version */
	char other[NAME_MAX + 1]; /* a file that looks like a model's, by another name */
};

static bool is_model(const char *name)
{
#define IS_NAME(file) || !strcmp(name, file)
	return false FG_MODEL_FILES(IS_NAME);
#undef IS_NAME
}

static bool is_like_model(const char *name)
{
	static const char *const ends[] = {".onnx", ".h5",     ".hdf5",	  ".keras",
					   ".pb",   ".pt",     ".pth",	  ".pkl",
					   ".pmml", ".tflite", ".joblib", ".safetensors"};
	const char *end = strrchr(name, '.');
	size_t i;

	for (i = 0; end && i < sizeof(ends) / sizeof(ends[0]); i++)
		if (!strcmp(end, ends[i]))
			return true;
	return false;
}

static void note(struct contents *contents, const char *name)
{
	if (name[0] == '.')
		return;
	contents->entries++;
	contents->model |= is_model(name);
	contents->saved_model |=
		!strcmp(name, "saved_model.pb") || !strcmp(name, "saved_model.pbtxt");
	contents->version |= fg_repository_parse_version(name) != 0;
	if (!is_model(name) && is_like_model(name))
		snprintf(contents->other, sizeof(contents->other), "%s", name);
}

static int look_into(const char *path, struct contents *contents)
{
	struct dirent *entry;
	DIR *dir = opendir(path);

	memset(contents, 0, sizeof(*contents));
	if (!dir)
		return -errno;
	while (contents->entries < MAX_ENTRIES && (entry = readdir(dir)))
		note(contents, entry->d_name);
	closedir(dir);
	return 0;
}

/* ---- remarks ---- */

#define FILES "model.onnx, model.h5 or model.keras"

void fg_remarks_no_version(const struct fg_remarks_on *on, const char *path)
{
	struct contents contents;
	int code = look_into(path, &contents);

	if (code == -ENOTDIR)
		fg_remarks_say(on, path, "a file: a version is a folder with %s in it", FILES);
	else if (code == -ENOENT)
		fg_remarks_say(on, path, "a link to what is not there: mend it, or remove it");
	else if (code)
		fg_remarks_say(on, path, "cannot be read (%s): let flipgated read it",
			       strerror(-code));
	else if (contents.model)
		fg_remarks_say(on, path, "its model file is no regular file, or cannot be read");
	else if (contents.saved_model)
		fg_remarks_say(on, path,
			       "a SavedModel, which flipgate does not read: export the model as "
			       "model.onnx or model.keras");
	else if (contents.other[0])
		fg_remarks_say(on, path, "holds %.64s, but no model: the file must be named %s",
			       contents.other, FILES);
	else if (!contents.entries)
		fg_remarks_say(on, path, "is empty: put %s there", FILES);
	else
		fg_remarks_say(on, path, "holds no model: put %s there", FILES);
}

/* "3.tmp" and "3~" are versions that somebody prepares, or put aside; "1.0" and "2024-01-31" are
 * meant. */
static bool is_put_aside(const char *name)
{
	return strspn(name, DIGITS) &&
	       strpbrk(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
			     "WXYZ~");
}

void fg_remarks_no_name(const struct fg_remarks_on *on, const char *folder, const char *name)
{
	struct contents contents;
	char path[PATH_MAX];
	struct stat info;

	if (is_put_aside(name) ||
	    snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path) ||
	    stat(path, &info))
		return;
	if (S_ISDIR(info.st_mode)) {
		if (!look_into(path, &contents) && (contents.model || contents.saved_model))
			fg_remarks_say(on, path,
				       "\"%.64s\" is no version: a version's folder is named by a "
				       "number, 1, 2, 3 ...: rename it",
				       name);
	} else if (is_model(name) || is_like_model(name)) {
		fg_remarks_say(on, path,
			       "lies beside the versions: move it into one, as %.160s/1/%s", folder,
			       is_model(name) ? name : "model.onnx");
	}
}

void fg_remarks_no_model(const struct fg_remarks_on *on, const char *name)
{
	char path[PATH_MAX];

	if (!is_model(name) && strcmp(name, "saved_model.pb"))
		return;
	snprintf(path, sizeof(path), "%s/%s", on->base, name);
	fg_remarks_say(on, path,
		       "lies where models' folders belong: models are REPOSITORY/MODEL/VERSION/%s",
		       is_model(name) ? name : "model.onnx");
}

static void on_named(const struct fg_remarks_on *on, const struct fg_store_model *model,
		     uint64_t version, const char *folder, const char *by, const char *label)
{
	struct fg_remarks_on named = *on;
	char path[PATH_MAX];
	uint32_t i;

	for (i = 0; i < model->count; i++)
		if (model->versions[i].version == version)
			return;
	named.version = version;
	if (fg_remarks_find(on->remarks, model->name, version) &&
	    fg_remarks_find(on->remarks, model->name, version)->version == version)
		return; /* something is there, and what is wrong with it was said */
	snprintf(path, sizeof(path), "%s/%llu", folder, (unsigned long long)version);
	fg_remarks_say(&named, path,
		       "%s%s names this version, and it is not there: publish it, or change the "
		       "configuration",
		       by, label);
}

/* The parent of `path`, for advice. */
static int parent_length(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash > path ? (int)(slash - path) : 1;
}

static void on_nothing(const struct fg_remarks_on *on, const char *folder)
{
	struct contents contents;
	uint32_t i;

	/* A repository's "models" that are numbers and hold model files are one model's versions.
	 */
	if (fg_repository_parse_version(on->model) && !look_into(folder, &contents) &&
	    (contents.model || contents.saved_model)) {
		for (i = 0; i < on->remarks->count; i++)
			if (!strcmp(on->remarks->list[i].model, on->model))
				on->remarks->list[i--] = on->remarks->list[--on->remarks->count];
		fg_remarks_say(&(struct fg_remarks_on){on->remarks, on->base, "", 0}, on->base,
			       "holds versions, not models: give the folder above it, %.*s",
			       parent_length(on->base) > 120 ? 120 : parent_length(on->base),
			       on->base);
		return;
	}
	if (!fg_remarks_find(on->remarks, on->model, 0))
		fg_remarks_say(on, folder,
			       "holds no version: put VERSION/model.onnx there (flipgate "
			       "publish)");
}

void fg_remarks_on_model(const struct fg_remarks_on *on, const struct fg_store_model *model,
			 const struct fg_rules_model *rules, const char *folder)
{
	uint32_t i;

	for (i = 0; rules->policy == FG_RULES_SPECIFIC && i < rules->count; i++)
		on_named(on, model, rules->versions[i], folder, "the configuration", "");
	for (i = 0; i < rules->label_count; i++)
		on_named(on, model, rules->labels[i].version, folder, "label ",
			 rules->labels[i].name);
	if (!model->count)
		on_nothing(on, folder);
}
