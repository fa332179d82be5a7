#!/usr/bin/env python3
"""Makes tests/data/warmup: warm-up files for models of tests/data/tf, as a TensorFlow Serving user
writes them, with TensorFlow's own tensors, messages and TFRecordWriter.

    python3 -m venv /tmp/tf && . /tmp/tf/bin/activate
    pip install tensorflow-cpu==2.21.0 numpy==2.4.6 && \\
        pip install --no-deps tensorflow-serving-api==2.21.0
    python3 tests/models/make_warmup.py

NAME/assets.extra/tf_serving_warmup_requests is the file, NAME/rows.npy (rows, columns) f32 what must
come out of it: the rows of all requests, one behind the other, with the model's inputs side by side.
"""

import os
import pathlib
import textwrap
from importlib import metadata

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import numpy
import tensorflow
from tensorflow_serving.apis import prediction_log_pb2

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "warmup"
PACKAGES = ["tensorflow_cpu", "tensorflow-serving-api", "numpy"]
GENERATOR = numpy.random.default_rng(7)

# The list of TensorProto that numbers of a type stand in, where they are not in tensor_content.
LISTS = {"float32": "float_val", "float64": "double_val", "int8": "int_val", "uint8": "int_val",
         "int16": "int_val", "uint16": "int_val", "int32": "int_val", "int64": "int64_val",
         "uint32": "uint32_val", "bool": "bool_val", "float16": "half_val",
         "bfloat16": "half_val"}


def content(array):
    """numpy -> TensorProto, with the numbers in tensor_content."""
    proto = tensorflow.make_tensor_proto(array)
    proto.tensor_content = array.tobytes()
    for field in set(LISTS.values()):
        proto.ClearField(field)
    return proto


def listed(array, count=None):
    """numpy -> TensorProto, with the first `count` numbers in the list of their type."""
    proto = content(array)
    proto.ClearField("tensor_content")
    field = LISTS[tensorflow.as_dtype(array.dtype).name]
    flat = array.ravel()[:count]
    getattr(proto, field).extend(flat.view(numpy.uint16).tolist() if field == "half_val"
                                 else flat.tolist())
    return proto


def predict(**inputs):
    """A record of a request with these tensors; TensorFlow reads the same numbers from them."""
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "any"
    request.model_spec.signature_name = "serving_default"
    for name, proto in inputs.items():
        request.inputs[name].CopyFrom(proto)
    return log


def rows_of(log, order):
    """The inputs of a request side by side, as TensorFlow reads them."""
    inputs = log.predict_log.request.inputs
    arrays = [tensorflow.make_ndarray(inputs[name]).astype(numpy.float32) for name in order]
    return numpy.hstack([array.reshape(len(array), -1) for array in arrays])


def dense_softmax():
    """Batches of 1, 4 and 7 rows; the last is one number for all. Any name will do."""
    logs = [predict(keras_tensor=content(GENERATOR.normal(size=(rows, 9)).astype("float32")))
            for rows in (1, 4)]
    logs.append(predict(dense_input=tensorflow.make_tensor_proto(0.25, shape=[7, 9])))
    return "dense_softmax_keras", ["keras_tensor"], logs


def types():
    """Each type of numbers, in tensor_content and in its list; the list ends early in a third."""
    logs = []
    for name in LISTS:
        dtype = tensorflow.as_dtype(name).as_numpy_dtype
        whole = GENERATOR.integers(0 if name[0] in "ub" else -100, 2 if name == "bool" else 100,
                                   (2, 9))
        array = (whole / 8 if "float" in name else whole).astype(dtype)
        array[1, 5:] = array[1, 5]
        logs += [predict(x=content(array)), predict(x=listed(array)),
                 predict(x=listed(array, 9 + 6))]
    return "dense_softmax_keras", ["x"], logs


def wide_and_deep():
    """Two inputs by name, in any order, with and without ":0"."""
    def numbers(rows):
        return content(GENERATOR.normal(size=(rows, 5)).astype("float32"))

    def ids(rows):
        return GENERATOR.integers(0, 11, (rows, 1))

    logs = [predict(numbers=numbers(3), category=listed(ids(3).astype("int32"))),
            predict(category=content(ids(2)), numbers=numbers(2))]
    odd = predict(**{"category:0": content(ids(5)), "numbers:0": numbers(5)})
    rows = numpy.vstack([rows_of(log, ["numbers", "category"]) for log in logs] +
                        [rows_of(odd, ["numbers:0", "category:0"])])
    return "wide_and_deep_keras", rows, [*logs, odd]


def kinds():
    """One request among records of all other kinds, and one of texts."""
    logs = [prediction_log_pb2.PredictionLog() for _ in range(5)]
    example = logs[0].classify_log.request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(1)
    logs[1].regress_log.request.input.CopyFrom(logs[0].classify_log.request.input)
    logs[2].multi_inference_log.request.input.CopyFrom(logs[0].classify_log.request.input)
    logs[3].session_run_log.request.fetch.append("y:0")
    texts = predict(examples=tensorflow.make_tensor_proto([example.SerializeToString()]))
    good = predict(x=content(GENERATOR.normal(size=(2, 9)).astype("float32")))
    return "dense_softmax_keras", rows_of(good, ["x"]), [*logs, texts, good]


def make(case):
    """Writes a case; returns its line of README.md."""
    model, rows, logs = case()
    if isinstance(rows, list):
        rows = numpy.vstack([rows_of(log, rows if len(rows) > 1 else log.predict_log.request.inputs)
                             for log in logs])
    folder = DATA / case.__name__ / "assets.extra"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tf_serving_warmup_requests"
    with tensorflow.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString(deterministic=True))
    numpy.save(folder.parent / "rows.npy", rows.astype(numpy.float32))
    about = " ".join(case.__doc__.split())
    return f"| {case.__name__} | {about} | {model} | {len(logs)} | {len(rows)} |"


def main():
    lines = [make(case) for case in (dense_softmax, types, wide_and_deep, kinds)]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    text = ("assets.extra/tf_serving_warmup_requests as TensorFlow writes it, and rows.npy, what "
            f"must come out. Made by `tests/models/make_warmup.py` with {versions}.")
    (DATA / "README.md").write_text("\n".join(
        ["# warmup", "", textwrap.fill(text, 100, break_on_hyphens=False), "",
         "| case | about | for tests/data/tf | records | rows |", "|---|---|---|---|---|",
         *lines]) + "\n")


if __name__ == "__main__":
    main()
