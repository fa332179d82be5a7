#!/usr/bin/env python3
"""Makes the two digit classifiers of this folder, and what they must answer.

The files that it makes are committed, so tests need none of these packages:

    python3 -m venv /tmp/digits && . /tmp/digits/bin/activate
    pip install scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
    python3 tests/data/digits/make_digits.py

Data: scikit-learn's handwritten digits, 1797 images of 8 x 8 pixels 0 .. 16, divided by 16,
split 80/20 (360 test rows) by a fixed seed. Shapes are (rows, columns), everything is f32.
"""

import json
import pathlib
import warnings

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

HERE = pathlib.Path(__file__).resolve().parent
SEED = 20
OPSET = 13
IR_VERSION = 8
GOLDEN_ROWS = 8
GOLDEN_TOLERANCE = 1e-4

# version -> (hidden layers, weight decay, passes over the training rows). Version 1 is small and
# held back by its weight decay, so that the two disagree on every row, in some column, by 0.02.
VERSIONS = {1: ((32,), 1.0, 30), 2: ((64, 32), 1e-4, 60)}


def split():
    digits = load_digits()
    rows = (digits.data / 16).astype(numpy.float32)
    return train_test_split(rows, digits.target.astype(numpy.int64), test_size=0.2,
                            random_state=SEED, stratify=digits.target)


def train(rows, labels, hidden, decay, passes):
    model = MLPClassifier(hidden_layer_sizes=hidden, alpha=decay, max_iter=passes, batch_size=64,
                          learning_rate_init=0.003, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is meant
        return model.fit(rows, labels)


def to_onnx(model, version):
    """Gemm, Relu, ..., Gemm, Softmax with the weights inside the file."""
    nodes, tensors, name = [], [], "pixels"
    last = len(model.coefs_) - 1
    for i, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_)):
        tensors.append(numpy_helper.from_array(weights.astype(numpy.float32), f"weights{i}"))
        tensors.append(numpy_helper.from_array(bias.astype(numpy.float32), f"bias{i}"))
        nodes.append(helper.make_node("Gemm", [name, f"weights{i}", f"bias{i}"], [f"sum{i}"]))
        name = "probabilities" if i == last else f"hidden{i}"
        nodes.append(helper.make_node("Softmax", [f"sum{i}"], [name], axis=1) if i == last
                     else helper.make_node("Relu", [f"sum{i}"], [name]))
    graph = helper.make_graph(
        nodes, f"digits_{version}",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["rows", 64])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 10])],
        tensors)
    result = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                               producer_name="make_digits.py")
    result.ir_version = IR_VERSION
    onnx.checker.check_model(result, full_check=True)
    return result


def run(path, rows):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": rows})[0]


def write_golden(path, rows, outputs):
    path.write_text(json.dumps({
        "tolerance": GOLDEN_TOLERANCE,
        "inputs": [[float(x) for x in row] for row in rows],
        "outputs": [[float(x) for x in row] for row in outputs],
    }) + "\n")


def main():
    train_rows, rows, train_labels, labels = split()
    numpy.save(HERE / "inputs.npy", rows)
    numpy.save(HERE / "labels.npy", labels)
    answers = {}
    for version, settings in VERSIONS.items():
        folder = HERE / str(version)
        folder.mkdir(exist_ok=True)
        path = folder / "model.onnx"
        onnx.save(to_onnx(train(train_rows, train_labels, *settings), version), path)
        answers[version] = run(path, rows)
        numpy.save(HERE / f"reference_{version}.npy", answers[version])
        accuracy = (answers[version].argmax(axis=1) == labels).mean()
        print(f"version {version}: accuracy {accuracy:.4f}, {path.stat().st_size} bytes")
    golden = train_rows[:GOLDEN_ROWS]
    write_golden(HERE / "2" / "golden.json", golden, run(HERE / "2" / "model.onnx", golden))
    apart = numpy.abs(answers[1] - answers[2]).max(axis=1)
    print(f"the versions differ by {apart.min():.2g} .. {apart.max():.2g} in each row")


if __name__ == "__main__":
    main()
