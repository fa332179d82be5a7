/*
 * cli_publish_copy.h: model versions put into a repository whole, or not at all.
 *
 *   prepare   copies into FOLDER/.VERSION.tmp-PID, a name that the gateway ignores, and verifies
 *   commit    renames all that was prepared, one after the other at once, and fsyncs the folders
 *   drop      removes what was prepared and not committed
 *
 * A version that is there is never touched. The temporary folder is locked (flock) while its
 * publisher lives; prepare removes those of publishers that are dead.
 */
#ifndef FG_TOOLS_CLI_PUBLISH_COPY_H
#define FG_TOOLS_CLI_PUBLISH_COPY_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include "models/error.h"
#include "tools/cli_publish_tree.h"

#define FG_PUBLISH_NAME_BYTES 64 /* of a model, with its NUL */

struct fg_publish {
	/* The caller's, before prepare. */
	const char *source;		   /* a folder, or a model file */
	char model[FG_PUBLISH_NAME_BYTES]; /* a valid name */
	char folder[PATH_MAX];		   /* that the model's versions lie in */
	uint64_t version; /* 0: one above the highest, or that one where it holds the same files;
			   * prepare sets it */
	bool force;	  /* one above in any case */

	/* After prepare. */
	bool exists; /* the same files lie there already: nothing to commit */
	bool done;   /* committed */
	struct fg_tree tree;
	char temporary[PATH_MAX]; /* path of the copy; "": none */

	bool chosen;	  /* the version was not said */
	bool made_folder; /* `folder` was not there before */
	int folder_fd, lock_fd;
};

/* 1 to 63 of A-Z a-z 0-9 _ . - and no leading dot. */
bool fg_publish_valid_model(const char *model);

/*
 * Copies and verifies one version. 0, also where the very same files lie there as that version;
 * -EEXIST: other files do; -ENOSPC and the like; those of fg_tree_open and fg_tree_copy.
 * fg_publish_drop ends it, whatever it returned.
 */
int fg_publish_prepare(struct fg_publish *publish, const volatile sig_atomic_t *stop,
		       struct fg_error *error);

/*
 * Renames all of them into place; where one fails, the others are taken back, and *error names
 * those that cannot be: they stay `done`. A version that was not said and was published by somebody
 * else meanwhile becomes the next one. -EEXIST or another -errno with *error; when only an fsync at
 * the end failed, they are in place and `done`. A process that is killed, or a machine that loses
 * its power, between two renames leaves the first ones in place.
 */
int fg_publish_commit(struct fg_publish *list, unsigned count, struct fg_error *error);

void fg_publish_drop(struct fg_publish *publish);

#endif
