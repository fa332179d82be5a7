/*
 * models_config_watch.h: tells when the models' configuration file has changed and stands still.
 *
 * The file may be edited in place, replaced by a rename, or reached through links that are swapped
 * (a ConfigMap's ..data); its directory may vanish and come back. What counts is its content: it is
 * reported when it has been the same for 200 ms and is not what was reported last. inotify brings
 * changes at once, a look every second those that it cannot see.
 */
#ifndef FG_DAEMON_MODELS_CONFIG_WATCH_H
#define FG_DAEMON_MODELS_CONFIG_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include "models/error.h"

#define FG_MODELS_CONFIG_WATCHES 2 /* the directories of the path, and of what it leads to */

struct fg_models_config_watch {
	const char *path;  /* absolute; the caller's, as long as this is open */
	int inotify;	   /* readable: call update */
	uint64_t due_ns;   /* call update by then, whatever happens */
	uint64_t last_ns;  /* of the last look; 0: none yet */
	uint64_t told;	   /* hash of the content that was reported; 0: none yet */
	uint64_t seen;	   /* hash of the content seen last; 0: the file could not be read */
	uint64_t since_ns; /* when `seen` was first seen */
	bool failing;	   /* the file could not be read; was logged */
	int watches[FG_MODELS_CONFIG_WATCHES]; /* -1: none */
};

/* Nothing is looked at before the first update. -errno with *error. */
int fg_models_config_watch_open(struct fg_models_config_watch *watch, const char *path,
				struct fg_error *error);
void fg_models_config_watch_close(struct fg_models_config_watch *watch);

/*
 * True: there is a content that was not reported before: read the file. So also once after the
 * start, 200 ms later: a process that takes over from another one compares what it reads with what
 * is in force. A file that vanished or cannot be read is logged once and is no change.
 */
bool fg_models_config_watch_update(struct fg_models_config_watch *watch, uint64_t now_ns);

#endif
