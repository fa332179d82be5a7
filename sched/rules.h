/*
 * rules.h: what the operator's configuration says of each model: where its versions lie, which of
 * them are served, and by which names. TensorFlow Serving's model_config_list, as plain data.
 *
 * Written by userspace/daemon/models_config from a file, or from --repository and --policy; read
 * by sched/wanted and userspace/daemon/repository.
 */
#ifndef FG_SCHED_RULES_H
#define FG_SCHED_RULES_H

#include <stdbool.h>
#include <stdint.h>

#define FG_RULES_NAME_BYTES   64 /* of a model */
#define FG_RULES_LABEL_BYTES  24
#define FG_RULES_PATH_BYTES   512
#define FG_RULES_MAX_MODELS   32
#define FG_RULES_MAX_VERSIONS 16 /* named by one specific policy */
#define FG_RULES_MAX_LABELS   4	 /* of one model */

enum fg_rules_policy {
	FG_RULES_LATEST = 0, /* the newest `count` versions */
	FG_RULES_MANUAL,     /* the operator's choice; until the first one the newest */
	FG_RULES_ALL,	     /* all versions on disk */
	FG_RULES_SPECIFIC,   /* versions[0 .. count - 1], as far as they are on disk */
};

/* Requests may name a label instead of a version. */
struct fg_rules_label {
	char name[FG_RULES_LABEL_BYTES]; /* NUL-terminated: A-Z a-z 0-9 _ . - */
	uint64_t version;		 /* loaded, whatever the policy says */
};

struct fg_rules_model {
	char name[FG_RULES_NAME_BYTES]; /* NUL-terminated */
	char path[FG_RULES_PATH_BYTES]; /* absolute; its versions lie in it */
	uint32_t policy;		/* enum fg_rules_policy */
	uint32_t count;			/* LATEST: 1 .. ; SPECIFIC: of versions */
	uint64_t versions[FG_RULES_MAX_VERSIONS];
	uint32_t label_count;
	struct fg_rules_label labels[FG_RULES_MAX_LABELS];
};

struct fg_rules {
	/* Each folder below is a model by default rules; "": only models[] are served. */
	char repository[FG_RULES_PATH_BYTES];
	struct fg_rules_model defaults; /* of models found in `repository`; its name, path are "" */
	uint32_t model_count;
	struct fg_rules_model models[FG_RULES_MAX_MODELS];
};

/* The rules of a model: its own, or the defaults where there is a repository; NULL: it is not to
 * be served. */
const struct fg_rules_model *fg_rules_find(const struct fg_rules *rules, const char *model);

/* Does the operator's choice alone decide which version serves? */
bool fg_rules_manual(const struct fg_rules *rules, const char *model);

#endif
