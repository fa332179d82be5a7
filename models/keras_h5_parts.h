/* keras_h5_parts.h: what keras_h5*.c share. */
#ifndef FG_MODELS_KERAS_H5_PARTS_H
#define FG_MODELS_KERAS_H5_PARTS_H

#include "models/keras_h5.h"

/* Sets "WHAT: damaged HDF5 (libhdf5's own words)" and returns -EINVAL. */
int fg_keras_h5_damaged(const struct fg_keras_h5 *h5, const char *what);
int fg_keras_h5_no_memory(const struct fg_keras_h5 *h5);

/* Opens the group or dataset at `path`; *object is libhdf5's handle, to be closed with H5Oclose. */
int fg_keras_h5_open_path(const struct fg_keras_h5 *h5, const char *path, int64_t *object);

#endif
