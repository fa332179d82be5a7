/*
 * models_config.h: which models are served, where their versions lie, which of them and by which
 * names: from a file, or from --repository and --policy alone.
 *
 * The file is TensorFlow Serving's models.config (a ModelServerConfig in protobuf's text format,
 * see tensorflow_serving/config/model_server_config.proto and
 * https://protobuf.dev/reference/protobuf/textformat-spec/) or YAML of our own;
 * docs/configuration.md shows both. Its content tells which: text whose first word is
 * model_config_list or custom_model_config, or is followed by { or <, is TensorFlow Serving's. The
 * name does not count.
 *
 *   file                    does
 *   models_config.c         options and files to text
 *   models_config_text.c    TensorFlow Serving's format, on models_config_token.c
 *   models_config_yaml.c    YAML
 *   models_config_rules.c   what is the same in both: the checks
 *   models_config_watch.c   when to read it again
 *
 * Nothing here looks at the models' directories: one that is not there yet is no error. Reading the
 * file may hang, where it lies on a file system that does: it is for a process that may (scout.h).
 */
#ifndef FG_DAEMON_MODELS_CONFIG_H
#define FG_DAEMON_MODELS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include "models/error.h"
#include "sched/rules.h"
#include "userspace/daemon/config.h"

#define FG_MODELS_CONFIG_MAX_BYTES (1 << 20) /* of the file */

/*
 * All of it: the rules that the daemon's options ask for. The file counts if config->models_config
 * names one; --repository and --policy are what it need not say. Returns 0, or -errno with *error
 * naming file, line, column, model and what to do; *rules is then undefined. Bytes that mean
 * nothing are 0: equal rules are equal bytes.
 */
int fg_models_config_read(struct fg_rules *rules, const struct fg_config *config,
			  struct fg_error *error);

/* Rules without a file: each folder of `repository` (absolute, or "": none) is a model, served by
 * `policy` (FG_RULES_LATEST, one version, or FG_RULES_MANUAL). */
void fg_models_config_from_flags(struct fg_rules *rules, const char *repository,
				 enum fg_rules_policy policy);

/*
 * Adds what a file says to *rules, which fg_models_config_from_flags made. A model without a policy
 * has the defaults'. The file is opened through links (a ConfigMap is made of them) and must be a
 * regular file of at most FG_MODELS_CONFIG_MAX_BYTES.
 */
int fg_models_config_load(struct fg_rules *rules, const char *path, struct fg_error *error);

/* The same of a text; it need not end with a NUL. `name` of the file: for *error. */
int fg_models_config_parse(struct fg_rules *rules, const char *name, const char *text, size_t size,
			   struct fg_error *error);

/* Could these be rules that the above have made? For those that come from another process. */
bool fg_models_config_check(const struct fg_rules *rules);

#endif
