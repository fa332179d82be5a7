#!/usr/bin/env python3
"""Makes tests/data/refused: valid models that flipgate-pack must refuse, and words of its error.

    python3 -m venv /tmp/refused && . /tmp/refused/bin/activate
    pip install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
    python3 tests/models/make_refused.py

Each case is a function of its own; its docstring says why the model cannot be served. NAME/
model.onnx is the model; expected_error.txt holds a phrase that the error has. onnxruntime runs
each model: none is a broken file.
"""

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import fixtures

TITLE = ("Valid models that flipgate-pack must refuse; expected_error.txt holds a phrase of what "
         "it says")
HEAD = "| case | about | error |"
PACKAGES = ["onnx", "onnxruntime", "numpy"]
OPSET = 17
ML_OPSET = 3
IR_VERSION = 8
CASES = []

node = helper.make_node
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def case(phrase):
    """What the error must say."""
    def register(function):
        CASES.append((function, phrase))
        return function
    return register


def weights(*shape):
    return GENERATOR.uniform(-1, 1, shape).astype(numpy.float32)


def numbers(*integers):
    return numpy.array(integers, numpy.int64)


def model(nodes, constants, in_shape, out_shape, in_type=FLOAT, out_type=FLOAT):
    graph = helper.make_graph(
        nodes, "refused", [helper.make_tensor_value_info("x", in_type, in_shape)],
        [helper.make_tensor_value_info("y", out_type, out_shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET),
                                                   helper.make_opsetid("ai.onnx.ml", ML_OPSET)])
    made.ir_version = IR_VERSION
    return made


# ---- operators that flipgate does not have -------------------------------------------------


@case("node 'conv1': operator Conv")
def conv():
    """A convolution in front of a layer."""
    return model([node("Conv", ["x", "w"], ["c"], name="conv1", kernel_shape=[3, 3]),
                  node("Flatten", ["c"], ["f"]), node("Gemm", ["f", "w1"], ["y"])],
                 {"w": weights(2, 1, 3, 3), "w1": weights(8, 3)}, ["n", 1, 4, 4], ["n", 3])


@case("node 'lstm': operator LSTM")
def lstm():
    """A recurrent layer over a sequence of four."""
    return model([node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
                  node("LSTM", ["t", "w", "r"], ["", "h"], name="lstm", hidden_size=2),
                  node("Squeeze", ["h", "zero"], ["y"])],
                 {"w": weights(1, 8, 3), "r": weights(1, 8, 2), "zero": numbers(0)},
                 ["n", 4, 3], ["n", 2])


@case("node 'trees': operator ai.onnx.ml.TreeEnsembleClassifier")
def tree_ensemble():
    """One decision tree of skl2onnx."""
    return model([node("TreeEnsembleClassifier", ["x"], ["y", "scores"], name="trees",
                       domain="ai.onnx.ml", classlabels_int64s=[0, 1], post_transform="NONE",
                       nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2],
                       nodes_featureids=[1, 0, 0], nodes_values=[0.5, 0.0, 0.0],
                       nodes_hitrates=[1.0, 1.0, 1.0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
                       nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
                       nodes_missing_value_tracks_true=[0, 0, 0], class_treeids=[0, 0],
                       class_nodeids=[1, 2], class_ids=[0, 0], class_weights=[0.0, 1.0])],
                 {}, ["n", 3], ["n"], out_type=INT64)


@case("node 'quantize': operator DynamicQuantizeLinear")
def quantized():
    """Dynamically quantised weights, as onnxruntime's own tool writes them."""
    return model([node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"], name="quantize"),
                  node("MatMulInteger", ["q", "w", "zero"], ["i"]),
                  node("Cast", ["i"], ["f"], to=FLOAT), node("Mul", ["f", "scale"], ["y"])],
                 {"w": GENERATOR.integers(-9, 9, (4, 3)).astype(numpy.int8)}, ["n", 4], ["n", 3])


@case("node 'choose': operator If")
def control_flow():
    """A branch that depends on the data."""
    def branch(operator):
        return helper.make_graph([node(operator, ["x"], [f"{operator}_out"])], operator, [],
                                 [helper.make_tensor_value_info(f"{operator}_out", FLOAT,
                                                                ["n", 4])])
    return model([node("ReduceSum", ["x"], ["sum"], keepdims=0),
                  node("Greater", ["sum", "zero"], ["positive"]),
                  node("If", ["positive"], ["y"], name="choose", then_branch=branch("Relu"),
                       else_branch=branch("Neg"))],
                 {"zero": numpy.array(0, numpy.float32)}, ["n", 4], ["n", 4])


# ---- inputs that are no rows of numbers ----------------------------------------------------


@case("input 'x'")
def string_input():
    """The input is a text (a category by its name)."""
    return model([node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml",
                       keys_strings=["cat", "dog"], values_floats=[1.0, 2.0], default_float=0.0)],
                 {}, ["n", 1], ["n", 1], in_type=STRING)


@case("input 'x'")
def dynamic_features():
    """How many columns the input has is left open."""
    return model([node("Relu", ["x"], ["y"])], {}, ["n", "features"], ["n", "features"])


@case("input 'x'")
def dynamic_length():
    """The second of three dimensions is left open: sequences."""
    return model([node("MatMul", ["x", "w"], ["h"]), node("ReduceMean", ["h"], ["y"], axes=[1],
                                                          keepdims=0)],
                 {"w": weights(4, 2)}, ["n", "length", 4], ["n", 2])


@case("input 'x'")
def no_batch():
    """The input is one number, without a batch."""
    return model([node("Relu", ["x"], ["y"])], {}, [], [])


# ---- rows that would depend on each other --------------------------------------------------


@case("node 'softmax' (Softmax)")
def softmax_over_batch():
    """A softmax over axis 0."""
    return model([node("Softmax", ["x"], ["y"], name="softmax", axis=0)], {}, ["n", 4], ["n", 4])


@case("node 'turn' (Transpose)")
def transposed_batch():
    """The batch becomes the last dimension."""
    return model([node("Transpose", ["x"], ["y"], name="turn")], {}, ["n", 4], [4, "n"])


@case("node 'centre' (ReduceMean)")
def mean_over_batch():
    """x - x.mean(0), a batch normalisation by hand."""
    return model([node("ReduceMean", ["x"], ["mean"], name="centre", axes=[0]),
                  node("Sub", ["x", "mean"], ["y"])], {}, ["n", 4], ["n", 4])


@case("node 'pool' (ReduceSum)")
def sum_of_all():
    """ReduceSum without axes takes the batch too."""
    return model([node("ReduceSum", ["x"], ["y"], name="pool", keepdims=1)], {}, ["n", 4], [1, 1])


@case("node 'stack' (Concat)")
def concat_of_rows():
    """More rows come out than go in."""
    return model([node("Concat", ["x", "x"], ["y"], name="stack", axis=0)], {}, ["n", 4],
                 ["m", 4])


@case("node 'first_row' (Gather)")
def one_row():
    """Only the first row of a batch is looked at."""
    return model([node("Gather", ["x", "zero"], ["y"], name="first_row", axis=0)],
                 {"zero": numbers(0)}, ["n", 4], [1, 4])


@case("node 'column' (Reshape)")
def columns_become_rows():
    """Reshape to (-1, 1), which skl2onnx puts behind an MLPRegressor of several targets."""
    return model([node("Gemm", ["x", "w"], ["h"]),
                  node("Reshape", ["h", "shape"], ["y"], name="column")],
                 {"w": weights(4, 2), "shape": numbers(-1, 1)}, ["n", 4], ["m", 1])


@case("node 'over rows' (ReduceMax)")
def merged_rows():
    """Rows and an inner dimension become one, and stay so (around a MatMul alone they may)."""
    return model([node("Reshape", ["x", "flat"], ["rows"]),
                  node("ReduceMax", ["rows"], ["h"], name="over rows", axes=[1], keepdims=1),
                  node("Reshape", ["h", "shape"], ["y"])],
                 {"flat": numbers(-1, 4), "shape": numbers(-1, 3)}, ["n", 3, 4], ["n", 3])


@case("node 'gram' (Gemm)")
def product_of_rows():
    """Every row with every other: x x^T."""
    return model([node("Gemm", ["x", "x"], ["y"], name="gram", transB=1)], {}, ["n", 4], ["n", "n"])


# ---- the files -----------------------------------------------------------------------------


def runs(path):
    """Fails when onnxruntime does not take the model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 3 for d in port.shape]
    rows = (numpy.full(shape, "dog") if port.type == "tensor(string)"
            else GENERATOR.uniform(-1, 1, shape).astype(numpy.float32))
    session.run(None, {port.name: rows})


def main():
    global GENERATOR
    lines = []
    for function, phrase in CASES:
        GENERATOR = numpy.random.default_rng(fixtures.seed(function.__name__))
        made = function()
        onnx.checker.check_model(made, full_check=True)
        folder = fixtures.empty_folder("refused", function.__name__)
        onnx.save(made, folder / "model.onnx")
        runs(folder / "model.onnx")
        (folder / "expected_error.txt").write_text(phrase + "\n")
        lines.append(f"| {folder.name} | {function.__doc__.rstrip('.')} | {phrase} |")
    fixtures.write_readme("refused", TITLE, "make_refused.py", PACKAGES, lines, HEAD)


if __name__ == "__main__":
    main()
