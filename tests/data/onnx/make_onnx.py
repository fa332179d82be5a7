#!/usr/bin/env python3
"""Makes the small ONNX models of this folder, and what they must answer.

The files that it makes are committed, so tests need none of these packages:

    python3 -m venv /tmp/onnx && . /tmp/onnx/bin/activate
    pip install onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6 scikit-learn==1.9.1 skl2onnx==1.20.0
    python3 tests/data/onnx/make_onnx.py

Each case is a function of its own; its docstring says which habit of which exporter it shows.
NAME/model.onnx is the model, NAME/inputs.npy (rows, columns) f32 the rows it is given, each row
of the model's input written flat, NAME/expected.npy (rows, columns) f32 what onnxruntime answers.
"""

import pathlib

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).resolve().parent
ROWS = 7  # odd, and more than the largest hand-written row block, so that blocks and rests run
IR_VERSION = 8

node = helper.make_node


def random(*shape):
    return GENERATOR.uniform(-1, 1, shape).astype(numpy.float32)


def model(nodes, weights, in_shape, out_shape, opset=13):
    """A model `x` -> `y`; `weights` is name -> array, or a tensor made by the case itself."""
    tensors = [w if isinstance(w, TensorProto) else numpy_helper.from_array(w, name)
               for name, w in weights.items()]
    graph = helper.make_graph(nodes, "case",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, in_shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, out_shape)],
                              tensors)
    result = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    result.ir_version = IR_VERSION
    return result


def gemm_trans_b():
    """PyTorch: Linear is Gemm with transB = 1, names are paths, opset 17."""
    weights = {"fc1.weight": random(24, 13), "fc1.bias": random(24),
               "fc2.weight": random(5, 24), "fc2.bias": random(5)}
    return model([node("Gemm", ["x", "fc1.weight", "fc1.bias"], ["/fc1/Gemm_output_0"],
                       name="/fc1/Gemm", alpha=1.0, beta=1.0, transB=1),
                  node("Relu", ["/fc1/Gemm_output_0"], ["/relu/Relu_output_0"]),
                  node("Gemm", ["/relu/Relu_output_0", "fc2.weight", "fc2.bias"], ["y"],
                       name="/fc2/Gemm", alpha=1.0, beta=1.0, transB=1)],
                 weights, ["batch_size", 13], ["batch_size", 5], opset=17)


def gemm_alpha_beta():
    """Gemm with alpha and beta that are not 1, then one without a bias."""
    return model([node("Gemm", ["x", "w0", "b0"], ["h"], alpha=0.5, beta=-2.0),
                  node("Gemm", ["h", "w1"], ["y"], alpha=3.0)],
                 {"w0": random(6, 9), "b0": random(9), "w1": random(9, 3)}, ["n", 6], ["n", 3])


def matmul_add():
    """tf2onnx: MatMul and Add, here with the bias on the left once, weights as float_data."""
    w0 = helper.make_tensor("w0", TensorProto.FLOAT, [10, 16], random(160).tolist())
    return model([node("MatMul", ["x", "w0"], ["m0"]), node("Add", ["b0", "m0"], ["a0"]),
                  node("Relu", ["a0"], ["h"]),
                  node("MatMul", ["h", "w1"], ["m1"]), node("Add", ["m1", "b1"], ["y"])],
                 {"w0": w0, "b0": random(16), "w1": random(16, 4), "b1": random(4)},
                 ["unk__1", 10], ["unk__1", 4])


def leaky_relu():
    """LeakyRelu with a slope of its own, then with the default slope 0.01."""
    return model([node("Gemm", ["x", "w0", "b0"], ["s0"]),
                  node("LeakyRelu", ["s0"], ["h0"], alpha=0.2),
                  node("Gemm", ["h0", "w1", "b1"], ["s1"]), node("LeakyRelu", ["s1"], ["y"])],
                 {"w0": random(8, 20), "b0": random(20), "w1": random(20, 6), "b1": random(6)},
                 ["n", 8], ["n", 6])


def tanh():
    """Tanh, with sums large enough to saturate."""
    return model([node("Gemm", ["x", "w0", "b0"], ["s0"]), node("Tanh", ["s0"], ["h"]),
                  node("Gemm", ["h", "w1", "b1"], ["s1"]), node("Tanh", ["s1"], ["y"])],
                 {"w0": 8 * random(7, 17), "b0": random(17), "w1": random(17, 5), "b1": random(5)},
                 ["n", 7], ["n", 5])


def sigmoid():
    """A scoring model: one output column, 33 inputs (one more than full panels)."""
    return model([node("Gemm", ["x", "w0", "b0"], ["s0"]), node("Relu", ["s0"], ["h"]),
                  node("Gemm", ["h", "w1", "b1"], ["s1"]), node("Sigmoid", ["s1"], ["y"])],
                 {"w0": random(33, 12), "b0": random(12), "w1": random(12, 1), "b1": random(1)},
                 ["n", 33], ["n", 1])


def flatten_constant():
    """An image input (n, 1, 4, 5), Flatten, and weights in Constant nodes."""
    def constant(name, value):
        return node("Constant", [], [name], value=numpy_helper.from_array(value))
    return model([constant("w0", random(20, 11)), constant("b0", random(11)),
                  constant("w1", random(11, 3)), constant("b1", random(3)),
                  node("Flatten", ["x"], ["flat"], axis=1),
                  node("Gemm", ["flat", "w0", "b0"], ["s0"]), node("Relu", ["s0"], ["h"]),
                  node("Gemm", ["h", "w1", "b1"], ["s1"]), node("Softmax", ["s1"], ["y"], axis=-1)],
                 {}, ["n", 1, 4, 5], ["n", 3])


def batch_norm():
    """Keras through tf2onnx: the input is scaled, BatchNormalization stands behind a layer."""
    weights = {"shift": random(9), "scale": 2 + random(9), "w0": random(9, 14), "b0": random(14),
               "gamma": 1 + random(14) / 2, "beta": random(14), "mean": random(14),
               "variance": 1 + random(14) / 2, "w1": random(14, 4), "b1": random(4)}
    return model([node("Sub", ["x", "shift"], ["centred"]),
                  node("Div", ["centred", "scale"], ["scaled"]),
                  node("MatMul", ["scaled", "w0"], ["m0"]), node("Add", ["m0", "b0"], ["s0"]),
                  node("BatchNormalization", ["s0", "gamma", "beta", "mean", "variance"], ["n0"],
                       epsilon=0.001),
                  node("Relu", ["n0"], ["h"]),
                  node("MatMul", ["h", "w1"], ["m1"]), node("Add", ["m1", "b1"], ["y"])],
                 weights, ["n", 9], ["n", 4])


def external():
    """Weights in a file beside the model, as exporters write large ones."""
    return model([node("Gemm", ["x", "w0", "b0"], ["s0"]), node("Relu", ["s0"], ["h"]),
                  node("Gemm", ["h", "w1", "b1"], ["y"])],
                 {"w0": random(12, 32), "b0": random(32), "w1": random(32, 8), "b1": random(8)},
                 ["n", 12], ["n", 8])


def fixed_batch():
    """The exporter froze the batch to one row: (1, 6) -> (1, 2)."""
    return model([node("Gemm", ["x", "w0", "b0"], ["s0"]), node("Relu", ["s0"], ["h"]),
                  node("Gemm", ["h", "w1", "b1"], ["y"])],
                 {"w0": random(6, 10), "b0": random(10), "w1": random(10, 2), "b1": random(2)},
                 [1, 6], [1, 2])


def sklearn_regressor():
    """skl2onnx: StandardScaler and MLPRegressor become Scaler, Cast, MatMul, Add, Reshape."""
    from skl2onnx import to_onnx
    rows = random(200, 5)
    pipeline = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=200,
                                                            tol=0.1, random_state=1))
    pipeline.fit(rows, (rows * rows).sum(axis=1))
    return to_onnx(pipeline, rows[:1])


CASES = [gemm_trans_b, gemm_alpha_beta, matmul_add, leaky_relu, tanh, sigmoid, flatten_constant,
         batch_norm, external, fixed_batch, sklearn_regressor]


def save(case, folder):
    made = case()
    onnx.checker.check_model(made, full_check=True)
    for stale in folder.glob("model.onnx*"):
        stale.unlink()  # onnx appends to a data file that is there
    if case is external:
        onnx.save(made, folder / "model.onnx", save_as_external_data=True,
                  location="model.onnx.data", size_threshold=0)
    else:
        onnx.save(made, folder / "model.onnx")


def main():
    global GENERATOR
    for case in CASES:
        GENERATOR = numpy.random.default_rng(sum(case.__name__.encode()))
        folder = HERE / case.__name__
        folder.mkdir(exist_ok=True)
        save(case, folder)
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"),
                                               providers=["CPUExecutionProvider"])
        described = session.get_inputs()[0]
        shape = [d if isinstance(d, int) else 1 for d in described.shape]
        shape[0] = 1
        rows = random(ROWS, int(numpy.prod(shape)))
        answers = [session.run(None, {described.name: row.reshape(shape)})[0].reshape(1, -1)
                   for row in rows]
        numpy.save(folder / "inputs.npy", rows)
        numpy.save(folder / "expected.npy", numpy.concatenate(answers))
        print(f"{case.__name__}: {rows.shape} -> {numpy.concatenate(answers).shape}")


if __name__ == "__main__":
    main()
