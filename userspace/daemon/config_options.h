/*
 * config_options.h: the one table of options that serves flags, file and help. Private to
 * config*.c.
 *
 * A value is text until its setter has read it, so that a flag and a line of the file mean the same
 * and fail with the same words.
 */
#ifndef FG_DAEMON_CONFIG_OPTIONS_H
#define FG_DAEMON_CONFIG_OPTIONS_H

#include "userspace/daemon/config.h"

#define FG_CONFIG_OPTIONS 30

struct fg_config_option {
	const char *name; /* of the flag, without "--", and of the file's key */
	/* Reads `value` into *config; -errno with *error saying what was wanted. */
	int (*set)(struct fg_config *config, const char *value, struct fg_error *error);
	bool list;	   /* may be given more than once; in the file: a sequence */
	const char *value; /* for help; "": the flag may stand alone, and means yes */
	const char *help;
};

extern const struct fg_config_option fg_config_options[FG_CONFIG_OPTIONS];

/* Sets one option; on failure *error begins with `where` and the option's name. */
int fg_config_apply(struct fg_config *config, const struct fg_config_option *option,
		    const char *value, const char *where, struct fg_error *error);

/* Applies a YAML file: a mapping of options' names to texts, or to lists of texts. -errno with
 * *error naming the file and, where it can be told, the line. */
int fg_config_load_file(struct fg_config *config, const char *path, struct fg_error *error);

#endif
