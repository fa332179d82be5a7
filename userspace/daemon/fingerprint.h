/*
 * fingerprint.h: one number for the files of a version: another one when any of them changes.
 *
 * Covers names, kinds, modes, sizes, inodes and times of modification and change (which no program
 * can set back: a file that was given its old size and time is seen to be another) of everything in
 * the directory and in its folders, FG_FINGERPRINT_MAX_DEPTH below each other
 * (assets.extra/tf_serving_warmup_requests is one deep), links followed. What lies deeper, or comes
 * after so many entries, does not count.
 */
#ifndef FG_DAEMON_FINGERPRINT_H
#define FG_DAEMON_FINGERPRINT_H

#include <stdbool.h>
#include <stdint.h>

#define FG_FINGERPRINT_MAX_DEPTH   3	/* folders below the version's directory */
#define FG_FINGERPRINT_MAX_ENTRIES 2048 /* of one version */

struct fg_fingerprint {
	uint64_t sum;
	uint64_t changed_ns; /* the newest change, wall clock */
	bool model;	     /* one of FG_MODEL_FILES lies in the directory itself */
};

/*
 * False when there is no such directory, or it cannot be read. `enter` is called with the path of
 * each directory before that is read: who watches it from then on misses no change.
 */
bool fg_fingerprint_read(struct fg_fingerprint *print, const char *path,
			 void (*enter)(void *context, const char *path), void *context);

#endif
