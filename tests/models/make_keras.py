#!/usr/bin/env python3
"""Makes tests/data/keras: models as Keras 2 and Keras 3 save them, and what they answer.

    python3 -m venv /tmp/keras && . /tmp/keras/bin/activate
    pip install tensorflow-cpu==2.21.0 keras==3.15.1 tf_keras==2.21.0 h5py==3.14.0 numpy==2.4.6
    python3 tests/models/make_keras.py

Each model is a function; its docstring says what it is about. It is built with Keras 2 (tf_keras)
and Keras 3, given random weights, and saved as NAME_kerasN_h5/model.h5 and
NAME_kerasN_zip/model.keras where its line says so. inputs.npy (rows, columns) f32 are the rows it is
given, all inputs side by side, and expected.npy (rows, columns) f32 what model.predict answers, all
outputs side by side. Dates and object numbers in the files change with each run, nothing else.
"""

import os
import pathlib
import subprocess
import sys
import zlib

VERSION = int(sys.argv[1]) if len(sys.argv) > 1 else 0
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
if VERSION == 2:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tf_keras as keras
elif VERSION == 3:
    import keras

import numpy

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "keras"
ROWS = 5
CASES = []
L = keras.layers if VERSION else None


def case(*files):
    """Which files to make of a model: "2h5" is Keras 2's HDF5, "3zip" Keras 3's .keras."""
    def register(function):
        CASES.append((function, files))
        return function
    return register


def at_ends(first, *layers):
    """A functional model that puts what all `layers` make of the input side by side."""
    outputs = [layer(first) for layer in layers]
    return keras.Model(first, L.Concatenate(name="together")(outputs))


@case("2h5", "3h5")
def dense_10(random):
    """The smallest classifier that everyone starts with, 784 inputs and three layers."""
    return keras.Sequential([
        L.Input((784,), name="pixels"), L.Dense(64, activation="relu"),
        L.Dense(64, activation="relu"), L.Dense(10, activation="softmax")])


@case("2h5", "3zip")
def activations(random):
    """Every activation by its name. hard_sigmoid is not the same in Keras 2 and 3."""
    names = ["linear", "relu", "elu", "selu", "sigmoid", "hard_sigmoid", "tanh", "softmax",
             "softplus", "softsign", "swish", "gelu", "exponential", "mish"]
    if VERSION == 3:
        names += ["leaky_relu", "relu6", "celu", "silu", "hard_silu", "hard_swish", "log_softmax",
                  "log_sigmoid", "hard_tanh", "tanh_shrink", "soft_shrink", "sparse_sigmoid",
                  "squareplus"]
    return at_ends(L.Input((5,)), *[L.Dense(3, activation=name, name=f"as_{name}")
                                    for name in names])


@case("2zip", "3h5")
def activation_layers(random):
    """Activations as layers, and as objects given to Dense and Activation."""
    alpha = {"alpha": 0.15} if VERSION == 2 else {"negative_slope": 0.15}
    return at_ends(
        L.Dense(6)(L.Input((6,))) if VERSION else None,
        L.ReLU(), L.ReLU(max_value=0.7), L.ReLU(negative_slope=0.2), L.ReLU(6.0),
        L.ReLU(max_value=0.8, negative_slope=0.1, threshold=0.3), L.ReLU(threshold=0.4),
        L.ReLU(max_value=0.5, negative_slope=0.25),
        L.LeakyReLU(**alpha), L.PReLU(), L.ELU(0.6), L.Softmax(), L.Activation("tanh"),
        L.Activation(keras.activations.gelu), L.Activation(L.LeakyReLU(**alpha)),
        L.Dense(2, activation=L.ReLU(max_value=0.4)), L.Dense(2, activation=None, use_bias=False))


@case("3zip")
def axes(random):
    """Layers on values of rank 3: along an axis, with axes shared, with a matrix at the end."""
    first = L.Input((3, 4))
    layers = [L.PReLU(shared_axes=[1]), L.Softmax(axis=1), L.BatchNormalization(),
              L.BatchNormalization(axis=1), L.LayerNormalization(), L.LayerNormalization([1, 2]),
              L.Dense(5, activation="softmax"), L.Permute((2, 1))]
    return keras.Model(first, [L.Flatten()(layer(first)) for layer in layers])


@case("2h5", "3zip")
def batch_norm(random):
    """Statistics that are not the ones it starts with; without scale; without center; frozen."""
    frozen = L.BatchNormalization(trainable=False)
    return keras.Sequential([
        L.Input((4,)), L.BatchNormalization(), L.Dense(6), L.BatchNormalization(epsilon=0.01),
        L.Activation("relu"), L.BatchNormalization(scale=False), L.Dense(3, use_bias=False),
        L.BatchNormalization(center=False), frozen, L.BatchNormalization(scale=False, center=False)])


@case("2zip", "3h5")
def layer_norm(random):
    """With both, one or none of scale and center."""
    return keras.Sequential([
        L.Input((6,)), L.LayerNormalization(), L.Dense(4, activation="tanh"),
        L.LayerNormalization(scale=False), L.Dense(5), L.LayerNormalization(center=False),
        L.LayerNormalization(scale=False, center=False, epsilon=0.1)])


@case("2h5", "3zip")
def normalization(random):
    """Measured with adapt, given as lists and as numbers, inverted; and Rescaling."""
    measured = L.Normalization()
    measured.adapt(random.normal(3, 2, (50, 4)).astype(numpy.float32))
    over_all = L.Normalization(axis=None)
    over_all.adapt(random.normal(-1, 3, (50, 4)).astype(numpy.float32))
    return at_ends(
        L.Input((4,)), measured, over_all,
        L.Normalization(mean=[0.5, -1.0, 2.0, 0.0], variance=[4.0, 0.25, 1.0, 2.0]),
        L.Normalization(axis=None, mean=0.5, variance=4.0),
        L.Normalization(mean=[0.5, -1.0, 2.0, 0.0], variance=[4.0, 0.25, 0.0, 2.0], invert=True),
        L.Rescaling(1 / 255.0), L.Rescaling([1.0, 2.0, 3.0, 4.0], offset=[0.0, 1.0, 0.0, -1.0]))


@case("2h5", "3h5", "3zip")
def merges(random):
    """All layers that put two or three values together, one of them a single column."""
    a, b, c = (L.Input((n,), name=name) for name, n in (("a", 3), ("b", 3), ("c", 1)))
    hidden = L.Dense(3)(a)
    outputs = [L.Add()([hidden, a, b]), L.Subtract()([hidden, b]), L.Multiply()([hidden, a, c]),
               L.Average()([hidden, a, b]), L.Maximum()([hidden, a, b]), L.Minimum()([a, b]),
               L.Concatenate()([c, a]), L.Add()([c, b])]
    return keras.Model([a, b, c], L.Concatenate()(outputs))


@case("2zip", "3zip")
def shapes(random):
    """Flatten, Reshape, Permute, pooling, and layers that are there for training only."""
    first = L.Input((12,))
    x = L.Reshape((3, -1))(first)
    x = L.SpatialDropout1D(0.1)(x)
    x = L.Permute((2, 1))(L.Dense(5, activation="relu")(x))
    pooled = L.GlobalAveragePooling1D()(x)
    x = L.GaussianNoise(0.1)(L.Flatten()(x))
    x = L.ActivityRegularization()(L.AlphaDropout(0.2)(L.GaussianDropout(0.1)(L.Dropout(0.5)(x))))
    return keras.Model(first, [L.Dense(2)(x), pooled])


@case("2h5", "3h5", "3zip")
def wide_and_deep(random):
    """Ids looked up in tables next to numbers; two outputs; inputs and outputs as dicts."""
    numbers = L.Input((3,), name="numbers")
    kind = L.Input((1,), dtype="int32", name="kind")
    words = L.Input((4,), dtype="float32", name="words")
    looked_up = [L.Flatten()(L.Embedding(6, 2)(kind)),
                 L.GlobalAveragePooling1D()(L.Embedding(9, 3)(words))]
    deep = L.Dense(5, activation="relu")(L.Concatenate()([numbers, *looked_up]))
    score = L.Dense(1, activation="sigmoid", name="score")(L.Concatenate()([deep, numbers]))
    group = L.Dense(3, activation="softmax", name="group")(deep)
    model = keras.Model({"words": words, "numbers": numbers, "kind": kind},
                        {"score": score, "group": group} if VERSION == 3 else [group, score])
    model.ids = {"kind": 6, "words": 9}
    return model


@case("2h5", "2zip", "3h5", "3zip")
def nested(random):
    """Layers and models called several times, models inside models, an output from inside."""
    first = L.Input((4,), name="first")
    shared = L.Dense(4, activation="tanh", name="shared")
    block = keras.Sequential([L.Input((4,)), L.Dense(3), L.BatchNormalization(), L.Dense(4)],
                             name="block")
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    joined = keras.Model([a, b], [L.Add()([L.Dense(4, name="left")(a), b]),
                                  L.Dense(2, name="right")(b)], name="joined")
    outer = keras.Sequential([L.Input((4,)), keras.Sequential([
        L.Input((4,)), L.Dense(4, activation="relu", name="deepest")], name="inner")], name="outer")
    x = shared(shared(first))
    y, z = joined([x, first])
    y, w = joined([block(y), outer(x)])
    return keras.Model(first, [block(y), z, w, outer(y)])


@case("2zip", "3h5")
def out_of_order(random):
    """Layers are listed by depth, so that a shared one stands before what it is called with."""
    first = L.Input((3,))
    shared = L.Dense(3, name="shared")
    x = shared(first)
    for i in range(3):
        x = shared(L.Dense(3, activation="tanh", name=f"between_{i}")(x))
    return keras.Model(first, x)


@case("3h5", "3zip")
def operators(random):
    """Arithmetic written with Python's operators, which Keras 3 saves as operations."""
    a, b = L.Input((3,), name="a"), L.Input((3,), name="b")
    x = L.Dense(3)(a)
    return keras.Model([a, b], L.Concatenate()([x + b, 2.0 * x, 1.0 - x, x * b - a, x / 4.0]))


@case("2h5", "3zip")
def float64(random):
    """Variables of eight bytes each."""
    return keras.Sequential([L.Input((3,), dtype="float64"), L.Dense(4, "relu", dtype="float64"),
                             L.Dense(2, dtype="float64")])


@case("3h5", "3zip")
def float16(random):
    """Variables of two bytes each, but computed with four."""
    return keras.Sequential([L.Input((3,)), L.Dense(4, dtype="float16"), L.Dense(2)])


def give_weights(model, random):
    """Random numbers that keep values small; variances stay above 0, counts what they are."""
    def fresh(weight):
        array = numpy.array(weight)
        name = getattr(weight, "path", weight.name)
        if array.dtype.kind not in "fV" or "normalization/mean" in name or \
                "normalization" in name and ("/variance" in name or "/count" in name):
            return array
        if "variance" in name:
            return random.uniform(0.5, 2, array.shape).astype(array.dtype)
        scale = 1 / max(1, array.shape[0]) ** 0.5 if array.ndim == 2 else 0.5
        return (random.uniform(-1, 1, array.shape) * 2 * scale).astype(array.dtype)
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, L.Normalization):
            continue
        own = layer._trainable_variables + layer._non_trainable_variables if VERSION == 3 else \
            layer._trainable_weights + layer._non_trainable_weights
        for weight in own:
            weight.assign(fresh(weight))


def make_inputs(model, random):
    """-> what predict is given, and the same side by side."""
    named = model.inputs
    order = sorted(named, key=lambda i: i.name) if hasattr(model, "ids") else named
    arrays = {}
    for tensor in named:
        name, shape = tensor.name.split(":")[0], (ROWS, *tensor.shape[1:])
        entries = getattr(model, "ids", {}).get(name)
        array = random.integers(0, entries, shape) if entries else random.normal(0, 1.5, shape)
        arrays[name] = array.astype("int32" if "int" in str(tensor.dtype) else "float32")
    flat = [arrays[t.name.split(":")[0]].reshape(ROWS, -1).astype(numpy.float32) for t in order]
    given = arrays if hasattr(model, "ids") else list(arrays.values())
    return given if len(arrays) > 1 else next(iter(arrays.values())), numpy.hstack(flat)


def flat_outputs(answer):
    if isinstance(answer, dict):
        answer = [answer[key] for key in sorted(answer)]
    if not isinstance(answer, (list, tuple)):
        answer = [answer]
    return numpy.hstack([numpy.asarray(a).reshape(ROWS, -1).astype(numpy.float32) for a in answer])


def make(function, kinds):
    keras.backend.clear_session()
    random = numpy.random.default_rng(zlib.crc32(function.__name__.encode()))
    model = function(random)
    give_weights(model, random)
    given, flat = make_inputs(model, random)
    expected = flat_outputs(model.predict(given, verbose=0))
    assert numpy.isfinite(expected).all(), function.__name__
    for kind in kinds:
        folder = DATA / f"{function.__name__}_keras{VERSION}_{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / ("model.h5" if kind == "h5" else "model.keras"))
        numpy.save(folder / "inputs.npy", flat)
        numpy.save(folder / "expected.npy", expected)


def main():
    if not VERSION:
        for version in "23":
            subprocess.run([sys.executable, __file__, version], check=True)
        return
    for function, files in CASES:
        kinds = [kind[1:] for kind in files if kind[0] == str(VERSION)]
        if kinds:
            make(function, kinds)


if __name__ == "__main__":
    main()
