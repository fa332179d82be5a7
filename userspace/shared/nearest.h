/* nearest.h: what somebody may have meant who typed a name that is none. */
#ifndef FG_SHARED_NEAREST_H
#define FG_SHARED_NEAREST_H

#include <stddef.h>

/* How many letters have to be put in, left out or changed to make one of the other (Levenshtein).
 * Up to 23 letters of each count. */
size_t fg_nearest_distance(const char *a, const char *b);

/* The best name so far for `name`: `candidate` where it is at most two letters off and nearer than
 * `best` (NULL: none). */
const char *fg_nearest(const char *name, const char *candidate, const char *best);

#endif
