/* repository_remarks.h: what lies in the repository and is no version, and why. Inside
 * repository*.c only; looks at the disk. */
#ifndef FG_DAEMON_REPOSITORY_REMARKS_H
#define FG_DAEMON_REPOSITORY_REMARKS_H

#include "userspace/shared/findings.h"

/* Where a remark is to go, and of what. */
struct fg_remarks_on {
	struct fg_remarks *remarks;
	const char *base;  /* of the model, or of all models */
	const char *model; /* "": none */
	uint64_t version;  /* 0: none */
};

/* `path` is what it says of `reason`; both are cut where they are too long. */
__attribute__((format(printf, 3, 4))) void
fg_remarks_say(const struct fg_remarks_on *on, const char *path, const char *format, ...);

/* The directory of a version, by its name, that has no model file, or cannot be read. */
void fg_remarks_no_version(const struct fg_remarks_on *on, const char *path);
/* An entry of a model's folder whose name is no version's. */
void fg_remarks_no_name(const struct fg_remarks_on *on, const char *folder, const char *name);
/* A file that lies where models' folders belong, in on->base. */
void fg_remarks_no_model(const struct fg_remarks_on *on, const char *name);
/* After all versions of a model were looked at: is anything there, and all that `rules` name? */
void fg_remarks_on_model(const struct fg_remarks_on *on, const struct fg_store_model *model,
			 const struct fg_rules_model *rules, const char *folder);

#endif
