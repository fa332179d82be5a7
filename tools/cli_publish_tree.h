/*
 * cli_publish_tree.h: the files of a model version: listed, copied, hashed, compared, removed.
 *
 * Only folders and plain files: a symbolic link is refused, because flipgate-pack does not follow
 * one, and because the copy would not be what was looked at. Calls that read contents stop with
 * -ECANCELED soon after *stop becomes other than 0.
 */
#ifndef FG_TOOLS_CLI_PUBLISH_TREE_H
#define FG_TOOLS_CLI_PUBLISH_TREE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/error.h"

#define FG_TREE_MAX_DEPTH 16
#define FG_TREE_MAX_FILES 65536

struct fg_tree_entry {
	char *path; /* below the tree's folder; owned */
	bool is_folder;
	uint64_t bytes;
	uint64_t hash; /* XXH3 of the contents, once copied or hashed */
};

/* Sorted by path, so that a folder comes before what is in it. */
struct fg_tree {
	char *source; /* as errors name it; owned */
	int fd;	      /* of the folder, or of the single file */
	bool single; /* the latter: what was opened is what is read, whatever bears its name then */
	size_t count, room;
	struct fg_tree_entry *entries;
	uint64_t bytes; /* of all files */
	bool at_fault;	/* the last error is of what was read, not of where it was written */
	const volatile sig_atomic_t *stop;
};

/*
 * Lists the folder `source`; or the single model file `source`, under the name that a version's
 * model has (model.onnx, model.h5, model.keras). fg_tree_close ends it, also after an error.
 * -ENOENT, -EACCES, ...; -ELOOP: a symbolic link; -EINVAL: neither folder nor plain file, or not a
 * model's name; -ECANCELED; with *error.
 */
int fg_tree_open(struct fg_tree *tree, const char *source, const volatile sig_atomic_t *stop,
		 struct fg_error *error);
void fg_tree_close(struct fg_tree *tree);

/*
 * Copies all into the empty folder `to` (`to_name` in errors): each file is written, fsynced, read
 * back from the disk and compared, then the folders are fsynced. Fills the hashes. -EIO: what was
 * read back differs; -ESTALE: a file changed meanwhile; -ENOSPC and the like: nothing is removed.
 */
int fg_tree_copy(struct fg_tree *tree, int to, const char *to_name, struct fg_error *error);

/* Fills the hashes without copying. */
int fg_tree_hash(struct fg_tree *tree, struct fg_error *error);

/* Of two hashed trees: "" when both hold the same files, else the first path that differs. */
const char *fg_tree_difference(const struct fg_tree *one, const struct fg_tree *other);

/* Removes the folder `name` below `parent` with all that it holds; follows no link. 0, -errno. */
int fg_tree_remove(int parent, const char *name);

#endif
