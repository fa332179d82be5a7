/*
 * keras.h: Keras models to models/graph.h, written as ONNX operators (opset FG_KERAS_OPSET), so
 * that everything behind the reader is the same for both formats.
 *
 * Two kinds of files, of Keras 2 (tf.keras) and Keras 3:
 * - HDF5 (model.save("model.h5")): the root's attribute model_config is the model as JSON; below
 *   model_weights each layer has a group whose attribute weight_names lists its datasets in order
 *   (attributes too long for HDF5 are cut to weight_names0, weight_names1, ...).
 *   https://github.com/keras-team/keras, legacy/saving/legacy_h5_format.py
 * - .keras (model.save("model.keras")): a zip archive of config.json, metadata.json and
 *   model.weights.h5, where the variables of a layer are layers/CLASS[_N]/vars/0, 1, ...; CLASS is
 *   its class in snake case, N counts the layers of that class in its model.
 *   saving/saving_lib.py
 *
 * Sequential and functional models, also inside one another, with layers called once or several
 * times. Layers: InputLayer; Dense, Embedding; Activation, ReLU, LeakyReLU, PReLU, ELU, Softmax;
 * BatchNormalization, LayerNormalization, Normalization, Rescaling; Add, Subtract, Multiply,
 * Divide, Average, Maximum, Minimum, Concatenate (the arithmetic also as written with operators in
 * Keras 3); Flatten, Reshape, Permute; GlobalAveragePooling1D. What does nothing after training is
 * dropped: Dropout, AlphaDropout, GaussianDropout, SpatialDropout1D .. 3D, GaussianNoise,
 * ActivityRegularization, Identity.
 *
 * Refused, with the layer, its class and what could be done: every other class, custom classes and
 * functions, training=True, open dimensions other than the batch, variables whose number or shape
 * is not what the layer's config asks for, variables of other types than float16, bfloat16, float32
 * and float64, masks where something would depend on them.
 * Refused in HDF5: links that are not hard links, external and virtual datasets, filters other than
 * deflate, shuffle and fletcher32, named types, missing data, more than FG_FILE_MAX_BYTES of
 * variables. Refused in zip: encrypted, duplicate and odd names, sizes that are wrong or a bomb.
 *
 * libhdf5 never opens a file: it is given the bytes. It is a large C library and has had its share
 * of errors with hostile files: call this only without rights, as flipgate-pack does. Not
 * thread-safe (libhdf5 is not).
 */
#ifndef FG_MODELS_KERAS_H
#define FG_MODELS_KERAS_H

#include <stddef.h>
#include "models/error.h"
#include "models/graph.h"

#define FG_KERAS_OPSET	   20
#define FG_KERAS_MAX_NODES 65536u /* of the graph; also calls of layers */

/*
 * Reads an HDF5 model, or a .keras archive, of `size` bytes. *graph holds copies of all it needs.
 * On 0 the caller owns *graph (fg_graph_free); on an error nothing is left. Inputs are in the order
 * of the model's inputs (of a dict: sorted by key, as Keras does), and outputs likewise. -EINVAL
 * with *error; -ENOMEM.
 */
int fg_keras_parse_h5(struct fg_graph *graph, const void *bytes, size_t size,
		      struct fg_error *error);
int fg_keras_parse_zip(struct fg_graph *graph, const void *bytes, size_t size,
		       struct fg_error *error);

/* The same from the file `name` below `dirfd`. Also -errno of models/file.h. */
int fg_keras_load_h5(struct fg_graph *graph, int dirfd, const char *name, struct fg_error *error);
int fg_keras_load_zip(struct fg_graph *graph, int dirfd, const char *name, struct fg_error *error);

#endif
