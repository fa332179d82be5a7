/*
 * npy.h: NumPy's array files (numpy.lib.format, versions 1 to 3), without a copy.
 */
#ifndef FG_MODELS_NPY_H
#define FG_MODELS_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/error.h"

#define FG_NPY_MAX_DIMS 8

/* An array. `data` points into the file's bytes, which stay the caller's. */
struct fg_npy {
	char kind;     /* 'f', 'i', 'u' or 'b' (bool) */
	uint8_t bytes; /* of one element: f 2, 4, 8; i and u 1, 2, 4, 8; b 1 */
	bool fortran;  /* the first dimension varies fastest */
	uint32_t dims; /* 0: a scalar */
	uint64_t shape[FG_NPY_MAX_DIMS];
	size_t count; /* elements, all of which are there */
	const unsigned char *data;
};

/* -EINVAL with *error: no such file, cut short, big-endian, or elements that are no numbers. */
int fg_npy_open(struct fg_npy *npy, const void *bytes, size_t length, struct fg_error *error);

/* Element `i` < count as it stands in the file. Not for f2. */
double fg_npy_number(const struct fg_npy *npy, size_t i);

#endif
