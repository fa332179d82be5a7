/* model.h: a model in any format that is understood. Links libhdf5 and libzip: for flipgate-pack
 * and tests. */
#ifndef FG_MODELS_MODEL_H
#define FG_MODELS_MODEL_H

#include "models/error.h"
#include "models/graph.h"

/*
 * Reads the file `name` below `dirfd` by its ending: .onnx (models/onnx.h), .h5 or .hdf5, .keras
 * (models/keras.h). `name` NULL: the one of FG_MODEL_FILES (models/model_files.h) that is there;
 * none is -ENOENT, two are -EINVAL. On 0 the caller owns *graph (fg_graph_free); on an error
 * nothing is left. Other errors as the readers give them.
 */
int fg_model_load(struct fg_graph *graph, int dirfd, const char *name, struct fg_error *error);

#endif
