/*
 * scout.h: the process that looks at the operator's files, so that nobody else has to: the model
 * repository (repository.h) and the models' configuration (models_config.h).
 *
 * A file system may keep whoever touches it waiting for ever (NFS, FUSE), beyond the reach of
 * SIGKILL. So control never touches one: a child of its does, which holds nothing that anybody
 * waits for. It has no privilege but to read (CAP_DAC_READ_SEARCH, where control has it; it stays
 * uid 0, because stores are often readable for root's uid alone), no descriptor but its socket to
 * control, no memory that others share but its page, Landlock and seccomp.
 *
 *   who       does
 *   control   says under which rules to look (struct fg_scout_order, one message each), and when to
 *             read the configuration
 *   scout     looks, when it is told to, when inotify reports something and now and then; leaves
 *             what it finds in its page (struct fg_scout_page) and sends an empty message
 *   control   copies that, believes nothing of it (scout_check.c), and goes on with what it knew
 * until there is something else
 *
 * Control counts its steps. A scout that makes none for FG_SCOUT_PATIENCE_NS hangs at a place (the
 * repository, a model's own path, the configuration's). It is left there, and another one is
 * started that leaves this place alone: the others are looked at as ever. That the first one ends
 * says that the place answers again; then it is looked at again. So there is at most one such
 * process for each place, and none beyond FG_REPOSITORY_MAX_SILENT of them: then nothing is looked
 * at until one ends. All die with control, those that hang as soon as they can.
 *
 * What is known stays valid meanwhile: versions that were not seen are not gone. It is kept in the
 * state page, for the next control.
 */
#ifndef FG_DAEMON_SCOUT_H
#define FG_DAEMON_SCOUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "models/error.h"
#include "userspace/daemon/config.h"
#include "userspace/daemon/repository.h"
#include "userspace/shared/findings.h"

#define FG_SCOUT_SILENT_NS 1000000000ull /* without a step: said not to answer */
#define FG_SCOUT_PATIENCE_NS                                                                       \
	10000000000ull /* ... and left where it is. An idle one makes a step                       \
			* every second */

/* Control to scout. */
struct fg_scout_order {
	uint32_t serial;       /* of the orders, from 1 */
	uint32_t read;	       /* how often control asked for the configuration to be read */
	uint64_t since_ns;     /* what ended then was not seen before: another look is wanted */
	uint32_t silent_count; /* places to leave alone: fg_repository_place() */
	uint64_t silent[FG_REPOSITORY_MAX_SILENT];
	char names[FG_ROLLOUT_MAX_MODELS]
		  [FG_ROLLOUT_NAME_BYTES]; /* known to the rollout; "": none */
	struct fg_rules rules;
};

/* What the models' configuration says. */
struct fg_scout_config {
	uint32_t read;	  /* of the order that asked for it; 0: it was not read yet */
	uint32_t changes; /* how often the file was seen to be another, from this scout's start */
	struct fg_rules rules; /* undefined when there is an error */
	struct fg_error error; /* "": none */
};

/* Scout to control; a part changes while its number is odd. */
struct fg_scout_page {
	_Atomic uint32_t leave;		 /* control's: 1: it is given up, and has to end */
	_Atomic uint64_t steps;		 /* taken so far */
	_Atomic uint32_t busy;		 /* 1: something that may hang is under way at ... */
	char place[FG_RULES_PATH_BYTES]; /* ... this place */
	_Atomic uint32_t findings_number, config_number;
	struct fg_findings findings;
	struct fg_scout_config config;
};

/* One process. */
struct fg_scout_child {
	pid_t pid;  /* 0: none */
	int socket; /* readable: it found something, or ended; -1 */
	struct fg_scout_page *page;
	char place[FG_RULES_PATH_BYTES]; /* where it hangs; "": it does not */
	uint64_t since_ns;		 /* its last step, while it hangs or works */
};

struct fg_scout {
	const struct fg_config *config;
	int epoll;					      /* gets the sockets */
	uint32_t event;					      /* their data.u32 */
	struct fg_scout_child child;			      /* the one that is given orders */
	struct fg_scout_child left[FG_REPOSITORY_MAX_SILENT]; /* those that hang */
	uint64_t start_ns, pause_ns; /* not to be started before; the last pause after an end */
	uint64_t steps, seen_ns;     /* of the child, as last seen, and when */
	uint32_t findings_number, config_number; /* that were taken */
	bool sent;				 /* the child has got `order` */
	uint64_t since_ns;			 /* for the next one */
	struct fg_scout_order order, next;
	struct fg_findings found;    /* the last look that passed the check */
	struct fg_scout_config read; /* of the configuration, likewise */
	struct fg_scout_config scratch;
};

/* Starts nobody yet. All that is passed stays the caller's. */
void fg_scout_open(struct fg_scout *scout, const struct fg_config *config, int epoll,
		   uint32_t event);
/* Kills; waits for nobody. */
void fg_scout_close(struct fg_scout *scout);

/*
 * Starts a scout where there is none, looks after those that hang, tells it `rules` and the names
 * in `rollout`, takes what it found into scout->found and scout->read. Never waits. `known` is what
 * a new one goes on from. Returns true when scout->found was looked at under these rules and is
 * new.
 */
bool fg_scout_update(struct fg_scout *scout, const struct fg_rules *rules,
		     const struct fg_rollout *rollout, const struct fg_findings *known,
		     uint64_t now_ns);
/* When to call update again at the latest. */
uint64_t fg_scout_due(const struct fg_scout *scout);

/* Asks for the models' configuration to be read; scout->read.read is this number, or a later one,
 * when that was done. */
uint32_t fg_scout_ask(struct fg_scout *scout);

/* What is found must have been looked at since then: else the next update orders another look. */
void fg_scout_look_since(struct fg_scout *scout, uint64_t since_ns);

/* Since when the place `path` does not answer; 0: it does. */
uint64_t fg_scout_silent(const struct fg_scout *scout, const char *path);
/* The `index`th place that does not answer, of those that the rules name, and since when; NULL:
 * there are no more. */
const char *fg_scout_place(const struct fg_scout *scout, uint32_t index, uint64_t *since_ns);

/* ---- scout_check.c ---- */

/* Could that be what a look found, or what a file says? The rules of findings are not looked at. */
bool fg_scout_check_findings(const struct fg_findings *findings);
bool fg_scout_check_config(const struct fg_scout_config *config);

/* ---- scout_run.c ---- */

/* The life of the child; does not return. `socket` is its only descriptor beside 0 to 2; `known`
 * and `config` are private memory. */
_Noreturn void fg_scout_run(struct fg_scout_page *page, int socket, const struct fg_config *config,
			    const struct fg_findings *known);

#endif
