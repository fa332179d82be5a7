#!/usr/bin/env python3
"""Makes tests/data/tf: Keras models as tf2onnx and as Keras' own export write them.

    python3 -m venv /tmp/tf && . /tmp/tf/bin/activate
    pip install tensorflow-cpu==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2 \\
        onnxruntime==1.32.0 numpy==2.4.6
    python3 tests/models/make_tf.py [CASE ...]

NAME_tf2onnx is written by tf2onnx.convert from a concrete function, NAME_keras by
model.export(format="onnx"). Each case is a function of its own that returns the model and its
inputs; its docstring says what it is about. Weights and rows are the same in each run, but not the
order and the numbers of some of the nodes that tf2onnx writes.
"""

import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import keras
import numpy
import onnx
import tensorflow
import tf2onnx
from keras import layers

import fixtures

TITLE = ("Keras models as ONNX: NAME_tf2onnx by tf2onnx.convert, NAME_keras by "
         'model.export(format="onnx")')
PACKAGES = ["tensorflow_cpu", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy"]
ROWS = 12
TF2ONNX_OPSET = 17
CASES = []


def case(function):
    CASES.append(function)
    return function


def floats(*columns):
    return GENERATOR.normal(size=(ROWS, *columns)).astype(numpy.float32)


def dense(units, activation=None):
    """Dense with a bias that is not 0."""
    return layers.Dense(units, activation=activation, bias_initializer="random_normal")


@case
def dense_softmax():
    """Dense(relu), Dense(relu), Dense(softmax)."""
    return keras.Sequential([layers.Input((9,)), dense(16, "relu"), dense(8, "relu"),
                             dense(4, "softmax")]), floats(9)


@case
def activations():
    """Dense layers with an activation each, side by side."""
    x = layers.Input((5,))
    names = ["elu", "selu", "silu", "softplus", "softsign", "tanh", "sigmoid",
             "hard_sigmoid", "leaky_relu", "exponential", "mish", "relu6", "log_softmax"]
    return keras.Model(x, layers.concatenate([dense(3, name)(x) for name in names])), floats(5)


@case
def activation_layers():
    """Activations that are layers, with parameters."""
    x = layers.Input((5,))
    chosen = [layers.LeakyReLU(negative_slope=0.15), layers.PReLU(alpha_initializer="uniform"),
              layers.ELU(alpha=0.6), layers.ReLU(max_value=0.9, negative_slope=0.1, threshold=0.05),
              layers.Softmax()]
    return keras.Model(x, layers.concatenate([layer(dense(4)(x)) for layer in chosen])), floats(5)


@case
def batch_norm():
    """BatchNormalization on the input, behind a Dense layer, and behind its activation."""
    model = keras.Sequential([layers.Input((6,)), layers.BatchNormalization(), dense(10),
                              layers.BatchNormalization(), layers.Activation("relu"),
                              layers.Dropout(0.4), dense(8, "relu"),
                              layers.BatchNormalization(epsilon=1e-2), dense(2)])
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            columns = layer.gamma.shape[0]
            layer.set_weights([GENERATOR.uniform(0.5, 1.5, columns) if i in (0, 3)
                               else GENERATOR.normal(size=columns) for i in range(4)])
    return model, floats(6)


@case
def layer_norm():
    """LayerNormalization between Dense layers; gelu by tanh (tf2onnx cannot write the other)."""
    x = layers.Input((6,))
    h = keras.ops.gelu(layers.LayerNormalization()(dense(10)(x)), approximate=True)
    return keras.Model(x, dense(3)(h)), floats(6)


@case
def rescaling():
    """Rescaling in front: of pixels here, by a number for each column."""
    return keras.Sequential([layers.Input((7,)), layers.Rescaling(1 / 25, offset=-0.5),
                             layers.Rescaling([1.0, 2.0, 0.5, -1.0, 3.0, 0.1, 1.5]),
                             dense(6, "relu"), dense(1, "sigmoid")]), 50 * floats(7)


@case
def wide_and_deep():
    """Numbers and an id through an embedding; the wide part goes around the deep one."""
    numbers, category = layers.Input((5,), name="numbers"), layers.Input((1,), name="category",
                                                                         dtype="int32")
    embedded = layers.Flatten()(layers.Embedding(11, 4)(category))
    deep = dense(8, "relu")(dense(16, "relu")(layers.concatenate([numbers, embedded])))
    score = dense(1, "sigmoid")(layers.concatenate([numbers, deep]))
    ids = GENERATOR.integers(0, 11, (ROWS, 1)).astype(numpy.int32)
    return keras.Model([numbers, category], score), floats(5), ids


@case
def residual():
    """Add, Multiply, Average and two outputs."""
    x = layers.Input((6,))
    h = dense(8, "relu")(x)
    h = layers.Add()([h, dense(8)(h)])
    h = layers.Multiply()([h, dense(8, "sigmoid")(h)])
    h = layers.Average()([h, dense(8, "tanh")(x)])
    return keras.Model(x, [dense(3, "softmax")(h), dense(1)(h)]), floats(6)


@case
def image():
    """Flatten of (8, 8, 1) images, as the beginners' tutorials have it."""
    return keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), dense(6, "relu"),
                             layers.Dropout(0.2), dense(5)]), floats(8, 8, 1)


@case
def reshape():
    """Reshape, Permute, Softmax of the last of three dimensions, Flatten."""
    return keras.Sequential([layers.Input((12,)), layers.Reshape((3, 4)), layers.Permute((2, 1)),
                             layers.Softmax(), layers.Flatten(), dense(2)]), floats(12)


@case
def dense_3d():
    """Dense layers on three dimensions: a MatMul between two Reshapes (Tensordot)."""
    return keras.Sequential([layers.Input((3, 4)), dense(5, "relu"), dense(2, "tanh"),
                             layers.Flatten(), dense(3)]), floats(3, 4)


@case
def embedding_pool():
    """The tutorials' text classifier: Embedding, GlobalAveragePooling1D, Dense."""
    ids = GENERATOR.integers(0, 20, (ROWS, 6)).astype(numpy.int32)
    return keras.Sequential([layers.Input((6,), dtype="int32"), layers.Embedding(20, 4),
                             layers.GlobalAveragePooling1D(), dense(5, "relu"),
                             dense(1, "sigmoid")]), ids


def export_tf2onnx(model, rows, path):
    signature = [tensorflow.TensorSpec([None, *r.shape[1:]], tensorflow.as_dtype(r.dtype),
                                       name=f"input_{i}") for i, r in enumerate(rows)]
    function = tensorflow.function(
        lambda *inputs: model(list(inputs) if len(inputs) > 1 else inputs[0], training=False),
        input_signature=signature)
    made, _ = tf2onnx.convert.from_function(function, signature, opset=TF2ONNX_OPSET)
    onnx.save(made, path)


def export_keras(model, rows, path):
    model.export(path, format="onnx", verbose=False)


def make(function, exporter, suffix):
    global GENERATOR
    seed = fixtures.seed(function.__name__)
    GENERATOR = numpy.random.default_rng(seed)
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model, *rows = function()
    expected = model(rows if len(rows) > 1 else rows[0], training=False)
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    folder = fixtures.empty_folder("tf", f"{function.__name__}_{suffix}")
    exporter(model, rows, str(folder / "model.onnx"))
    made = onnx.load(folder / "model.onnx")
    return fixtures.finish(folder, function.__doc__,
                           dict(zip((port.name for port in made.graph.input), rows)),
                           [numpy.asarray(e) for e in expected])


def main():
    lines = []
    for function in CASES:
        if len(sys.argv) == 1 or function.__name__ in sys.argv[1:]:
            lines.append(make(function, export_tf2onnx, "tf2onnx"))
            lines.append(make(function, export_keras, "keras"))
    if len(sys.argv) == 1:
        fixtures.write_readme("tf", TITLE, "make_tf.py", PACKAGES, lines)


if __name__ == "__main__":
    main()
