/* model_files.h: the files that a model may lie in, in a version's directory. One of them only. */
#ifndef FG_MODELS_MODEL_FILES_H
#define FG_MODELS_MODEL_FILES_H

/* X(name) */
#define FG_MODEL_FILES(X)                                                                          \
	X("model.onnx")                                                                            \
	X("model.h5")                                                                              \
	X("model.keras")

#endif
