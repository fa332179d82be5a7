/* models_config_rules.h: what both formats of the models' configuration have in common: places in
 * the file, and the checks of what stands there. Inside models_config*.c only. */
#ifndef FG_DAEMON_MODELS_CONFIG_RULES_H
#define FG_DAEMON_MODELS_CONFIG_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/error.h"
#include "sched/rules.h"

/* A place in the file. */
struct fg_models_at {
	const char *file;
	uint32_t line, column; /* from 1, columns in bytes; line 0: the file as a whole */
};

/* Returns -EINVAL, with "FILE:LINE:COLUMN: " and the text in *error. What is not printable ASCII
 * becomes '?', so that the text fits a log line and JSON. */
__attribute__((format(printf, 3, 4))) int
fg_models_fail(struct fg_error *error, const struct fg_models_at *at, const char *format, ...);

/* Each checks a value that stands at `at` and puts it in place. 0, or -EINVAL with *error. */
int fg_models_set_name(struct fg_rules_model *model, const char *name,
		       const struct fg_models_at *at, struct fg_error *error);
/* Also "file:///srv/x"; slashes at the end go. */
int fg_models_set_path(char path[FG_RULES_PATH_BYTES], const char *text,
		       const struct fg_models_at *at, struct fg_error *error);
/* How many versions policy latest serves. */
int fg_models_set_count(struct fg_rules_model *model, uint64_t count, const struct fg_models_at *at,
			struct fg_error *error);
/* Of policy specific; one that is there already is not added again. */
int fg_models_add_version(struct fg_rules_model *model, uint64_t version,
			  const struct fg_models_at *at, struct fg_error *error);
int fg_models_add_label(struct fg_rules_model *model, const char *name, uint64_t version,
			const struct fg_models_at *at, struct fg_error *error);

/* Takes a whole model, which began at `at`, into the rules. One without a path lies in the
 * repository. */
int fg_models_add(struct fg_rules *rules, const struct fg_rules_model *model,
		  const struct fg_models_at *at, struct fg_error *error);

/* ---- the formats ---- */

/* As fg_models_config_parse, which chose between them. */
int fg_models_parse_text(struct fg_rules *rules, const char *name, const char *text, size_t size,
			 struct fg_error *error);
int fg_models_parse_yaml(struct fg_rules *rules, const char *name, const char *text, size_t size,
			 struct fg_error *error);

#endif
