/* steering_pins.h: the directory on bpffs that the steering maps are pinned in. */
#ifndef FG_DAEMON_STEERING_PINS_H
#define FG_DAEMON_STEERING_PINS_H

#include <stdbool.h>
#include "models/error.h"

struct fg_steering;

/*
 * Makes `dir` (mounting a bpffs at /sys/fs/bpf where `dir` lies below it and there is none), locks
 * it and removes what a dead keeper left in it. Returns an fd of the directory that holds the lock;
 * -EBUSY when a living keeper holds it.
 */
int fg_pins_open(const char *dir, struct fg_error *error);

/* Pins every map of the loaded ingress object under its own name. */
int fg_pins_add(const struct fg_steering *steering, struct fg_error *error);

/* Is `fd`, from fg_pins_open, still the directory that stands at `dir`? */
bool fg_pins_there(const char *dir, int fd);

/* Are the pins at config.pin_dir those of our maps, and not of another gateway that we are to
 * replace? */
bool fg_pins_ours(const struct fg_steering *steering);

/* Removes our pins and, if nothing else is in it, the directory. */
void fg_pins_remove(const char *dir);

/* Path of the pin of a service's live table. Returns path, or NULL when it does not fit. */
char *fg_pins_table_path(const char *dir, unsigned int service, char *path, size_t size);

#endif
