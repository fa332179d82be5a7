"""What the checks of operators are made of: a model with its inputs, random shapes, special values.
Each operators_*.py registers functions that yield cases, by @check."""

import functools

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ML = "ai.onnx.ml"
TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.bool_): TensorProto.BOOL,
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.int16): TensorProto.INT16,
    np.dtype(np.uint16): TensorProto.UINT16,
    np.dtype(np.uint32): TensorProto.UINT32,
    np.dtype(np.uint64): TensorProto.UINT64,
}
INF, NAN = np.float32(np.inf), np.float32(np.nan)
SPECIAL = np.array(
    [
        0,
        -0.0,
        1,
        -1,
        INF,
        -INF,
        NAN,
        1e-40,
        -1e-40,
        1.2e-38,
        3e38,
        -3e38,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        1e-7,
        88,
        -88,
        104,
        -104,
        16777216,
    ],
    np.float32,
)
FINITE = SPECIAL[np.isfinite(SPECIAL)]
CHECKS = []  # (name, function that yields cases)


@functools.cache
def newest_opset():
    """The newest opset that both onnx and onnxruntime know."""
    for opset in range(onnx.defs.onnx_opset_version(), 7, -1):
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", 1, [1])],
            [helper.make_tensor_value_info("y", 1, [1])],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10
        )
        try:
            onnxruntime.InferenceSession(model.SerializeToString())
            return opset
        except Exception:  # onnxruntime's exceptions have no common base
            continue
    return 7


def versions(op, domain="", oldest=7):
    """The opsets from 7 on in which the operator changed, and the newest."""
    found = {
        s.since_version
        for s in onnx.defs.get_all_schemas_with_history()
        if s.name == op and s.domain == domain
    }
    newest = newest_opset() if not domain else 4
    first = max(min(found), oldest)
    return sorted({v for v in found if first <= v <= newest} | {first, newest})


class Case:
    """One model with what goes in. `inputs` are arrays with the batch first; `fixed`: the file
    says how large it is; `oracle`: other nodes for onnxruntime, where it lacks the operator."""

    def __init__(
        self,
        nodes,
        inputs,
        constants=None,
        outputs=("y",),
        opset=13,
        ml=3,
        tolerance=0.0,
        fixed=False,
        oracle=None,
    ):
        self.inputs, self.outputs, self.tolerance, self.opset = inputs, outputs, tolerance, opset
        self.rows = len(next(iter(inputs.values())))
        infos = [
            helper.make_tensor_value_info(
                name, TYPES[x.dtype], [self.rows if fixed and x.ndim > 1 else None, *x.shape[1:]]
            )
            for name, x in inputs.items()
        ]
        tensors = [
            numpy_helper.from_array(np.asarray(c), name) for name, c in (constants or {}).items()
        ]
        self.model, self.oracle = (
            helper.make_model(
                helper.make_graph(
                    some,
                    "g",
                    infos,
                    [helper.make_empty_tensor_value_info(o) for o in outputs],
                    tensors,
                ),
                opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(ML, ml)],
                ir_version=8,
            )
            for some in (nodes, oracle or nodes)
        )
        self.classes = [
            [c.decode() if isinstance(c, bytes) else c for c in helper.get_attribute_value(a)]
            for n in nodes
            if n.op_type == "ZipMap"
            for a in n.attribute
        ]
        self.title = "opset %d %s(%s)%s%s" % (
            ml if nodes[-1].domain else opset,
            nodes[-1].op_type,
            ", ".join("%s%s" % (n, list(x.shape)) for n, x in inputs.items()),
            "".join(
                " %s=%s" % (a.name, str(helper.get_attribute_value(a)).replace("\n", " ")[:60])
                for a in nodes[-1].attribute
            ),
            "".join(" %s%s" % (n, list(np.shape(c))) for n, c in (constants or {}).items()),
        )

    def columns(self):
        return np.concatenate(
            [x.reshape(self.rows, -1).astype(np.float32) for x in self.inputs.values()], axis=1
        )

    def expected(self):
        """onnxruntime's outputs side by side. Maps (ZipMap) are rows of their values."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(self.oracle.SerializeToString(), options)
        outs = session.run(None, self.inputs)
        outs = [
            np.array([[m[c] for c in self.classes[0]] for m in o]) if isinstance(o, list) else o
            for o in outs
        ]
        with np.errstate(over="ignore"):
            return np.concatenate(
                [o.reshape(self.rows, -1).astype(np.float32) for o in outs], axis=1
            )


def node(op, inputs="x", outputs="y", domain="", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), domain=domain, **attributes)


def check(name):
    """Registers a generator of cases under the operator's name."""

    def register(function):
        CHECKS.append((name, function))
        return function

    return register


def shape_of(rng, low=2, high=4):
    """A shape with the batch first; the last dimension is sometimes longer than a vector."""
    rank = int(rng.integers(low, high + 1))
    shape = [int(rng.integers(1, 6)) for _ in range(rank)]
    if rank > 1 and rng.integers(3) == 0:
        shape[-1] = int(rng.choice([16, 17, 31, 33, 64, 70]))
    shape[0] = int(rng.choice([1, 2, 3, 5, 7]))
    return shape


def ordinary(rng, shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def wild(rng, shape, special=SPECIAL):
    """Ordinary numbers of many sizes, some replaced by special ones."""
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4, shape)
    chosen = rng.integers(0, 4, shape) == 0
    return np.where(chosen, rng.choice(special, shape), x).astype(np.float32)


def all_special(special=SPECIAL):
    return np.stack([special, special[::-1]]).astype(np.float32)


def broadcast_shapes(rng):
    """(shape of x with the batch, shape of a constant that broadcasts to it)"""
    shape = shape_of(rng, 2, 4)
    kind = int(rng.integers(4))
    if kind == 0:
        return shape, []
    if kind == 1:
        return shape, [1] * int(rng.integers(1, len(shape) + 1))
    other = [d if rng.integers(3) else 1 for d in shape[int(rng.integers(1, len(shape))) :]]
    return shape, (other if kind == 2 else [1] * (len(shape) - len(other)) + other)


def few(rng, shape):
    return rng.integers(-2, 3, shape).astype(np.float32)


def with_axes(op, opset, since, axes, **attributes):
    """The node, and constants: axes are an attribute before `since`, an input after."""
    if axes is None:
        return [node(op, **attributes)], {}
    if opset < since:
        return [node(op, axes=axes, **attributes)], {}
    return [node(op, "x axes", **attributes)], {"axes": np.array(axes, np.int64)}
