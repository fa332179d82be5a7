"""Checks of operators that arrange, pick, join and convert."""

import numpy as np
from onnx import TensorProto, numpy_helper

from operator_case import check, node, ordinary, versions, wild, with_axes, newest_opset, Case


@check("Reshape")
def reshape(rng):
    for opset in versions("Reshape"):
        for shape, target in (
            ([3, 12], [-1, 3, 4]),
            ([3, 12], [0, 2, -1]),
            ([3, 2, 6], [0, -1]),
            ([3, 2, 6], [-1, 12]),
            ([3, 2, 6], [0, 0, 3, 2]),
            ([3, 1], [-1]),
            ([3], [-1, 1]),
        ):
            yield Case(
                [node("Reshape", "x s")],
                {"x": ordinary(rng, shape)},
                {"s": np.array(target, np.int64)},
                opset=opset,
            )
        yield Case(
            [node("Reshape", "x s")],
            {"x": ordinary(rng, (3, 12))},
            {"s": np.array([3, 4, 3], np.int64)},
            opset=opset,
            fixed=True,
        )
        yield Case(
            [node("Reshape", "x s")],
            {"x": ordinary(rng, (3, 12))},
            {"s": np.array([3, -1], np.int64)},
            opset=opset,
            fixed=True,
        )
    # x.view(x.shape[0], -1), x.view(x.shape[0], x.shape[1] * x.shape[2]) as PyTorch writes them
    shape = [
        node("Shape", "x", "n"),
        node("Gather", "n zero", "b"),
        node("Unsqueeze", "b axes", "b1"),
    ]
    constants = {
        "zero": np.int64(0),
        "axes": np.array([0], np.int64),
        "rest": np.array([-1], np.int64),
    }
    yield Case(
        shape + [node("Concat", "b1 rest", "t", axis=0), node("Reshape", "x t")],
        {"x": ordinary(rng, (3, 2, 4))},
        constants,
    )
    yield Case(
        [
            node("Shape", "x", "n"),
            node("Slice", "n zero one", "b"),
            node("Slice", "n one three", "r"),
            node("ReduceProd", "r", "p", axes=[0], keepdims=1),
            node("Concat", "b p", "t", axis=0),
            node("Reshape", "x t"),
        ],
        {"x": ordinary(rng, (3, 2, 4))},
        {
            "zero": np.array([0], np.int64),
            "one": np.array([1], np.int64),
            "three": np.array([3], np.int64),
        },
    )
    yield Case(
        [node("Reshape", "x s", allowzero=1)],
        {"x": ordinary(rng, (3, 8))},
        {"s": np.array([-1, 2, 4], np.int64)},
        opset=14,
    )


@check("Flatten")
def flatten(rng):
    for opset in versions("Flatten"):
        for shape in ([3, 4], [3, 2, 5], [2, 3, 2, 2]):
            yield Case([node("Flatten")], {"x": wild(rng, shape)}, opset=opset)
            yield Case(
                [node("Flatten", axis=1 - len(shape))],
                {"x": wild(rng, shape)},
                opset=max(opset, 11),
            )
        yield Case([node("Flatten", axis=2)], {"x": wild(rng, (3, 1, 5))}, opset=opset)


@check("Squeeze, Unsqueeze")
def squeeze(rng):
    for opset in versions("Squeeze"):
        for shape, axes in (([3, 1, 4], [1]), ([3, 1, 4, 1], [-1, 1]), ([3, 4, 1], [2])):
            nodes, constants = with_axes("Squeeze", opset, 13, axes)
            yield Case(nodes, {"x": wild(rng, shape)}, constants, opset=opset)
        for shape, axes in (([3, 4], [1]), ([3, 4], [-1]), ([3, 4], [1, 3]), ([3], [1])):
            nodes, constants = with_axes("Unsqueeze", opset, 13, axes)
            yield Case(nodes, {"x": wild(rng, shape)}, constants, opset=opset)


@check("Transpose")
def transpose(rng):
    for opset in versions("Transpose"):
        for shape, perm in (
            ([3, 4, 5], [0, 2, 1]),
            ([2, 3, 4, 5], [0, 3, 1, 2]),
            ([2, 3], [0, 1]),
            ([2, 3, 4, 5], [0, 2, 1, 3]),
        ):
            yield Case([node("Transpose", perm=perm)], {"x": wild(rng, shape)}, opset=opset)
    yield Case(
        [node("Transpose", "w", "t"), node("MatMul", "x t")],
        {"x": ordinary(rng, (3, 4))},
        {"w": ordinary(rng, (5, 4))},
        tolerance=1e-5,
    )


@check("Expand, Tile")
def expand(rng):
    for opset in versions("Expand", oldest=8):
        for shape, target in (
            ([3, 1, 4], [1, 2, 4]),
            ([3, 4], [1, 4]),
            ([3, 1], [7]),
            ([3, 2, 1], [2, 5]),
        ):
            yield Case(
                [node("Expand", "x s")],
                {"x": wild(rng, shape)},
                {"s": np.array(target, np.int64)},
                opset=opset,
            )
    yield Case(
        [node("Shape", "x", "n"), node("Expand", "c n", "e"), node("Add", "x e")],
        {"x": ordinary(rng, (3, 4))},
        {"c": ordinary(rng, (1, 4))},
    )
    yield Case(
        [node("Shape", "x", "n"), node("ConstantOfShape", "n", "e"), node("Concat", "x e", axis=1)],
        {"x": ordinary(rng, (3, 4))},
    )
    for opset in versions("Tile"):
        for shape, repeats in (([3, 4], [1, 3]), ([3, 2, 4], [1, 2, 2]), ([3, 2], [1, 1])):
            yield Case(
                [node("Tile", "x r")],
                {"x": wild(rng, shape)},
                {"r": np.array(repeats, np.int64)},
                opset=opset,
            )


@check("Concat")
def concat(rng):
    for opset in versions("Concat"):
        for shapes, axis in (
            ([[3, 4], [3, 2]], 1),
            ([[3, 4], [3, 2], [3, 5]], -1),
            ([[3, 2, 4], [3, 3, 4]], 1),
            ([[3, 2, 4], [3, 2, 1]], 2),
        ):
            xs = {"x%d" % i: wild(rng, s) for i, s in enumerate(shapes)}
            yield Case([node("Concat", " ".join(xs), axis=axis)], xs, opset=opset)
    x = wild(rng, (3, 4))
    yield Case([node("Relu", "x", "r"), node("Concat", "x r x", axis=1)], {"x": x})


@check("Split")
def split(rng):
    for opset in versions("Split"):
        for shape, axis, sizes in (
            ([3, 6], 1, [2, 4]),
            ([3, 6], -1, [1, 2, 3]),
            ([3, 4, 2], 1, [1, 3]),
            ([2, 3, 4], 2, [2, 2]),
        ):
            outputs = ["y%d" % i for i in range(len(sizes))]
            if opset < 13:
                nodes, constants = [
                    node("Split", "x", " ".join(outputs), axis=axis, split=sizes)
                ], {}
            else:
                nodes = [node("Split", "x s", " ".join(outputs), axis=axis)]
                constants = {"s": np.array(sizes, np.int64)}
            yield Case(nodes, {"x": wild(rng, shape)}, constants, outputs=outputs, opset=opset)
        more = {"num_outputs": 3} if opset >= 18 else {}
        yield Case(
            [node("Split", "x", "a b c", axis=1, **more)],
            {"x": wild(rng, (3, 6))},
            outputs=("a", "c", "b"),
            opset=opset,
        )
    yield Case(
        [node("Split", "x", "a b c", axis=1, num_outputs=3)],
        {"x": wild(rng, (3, 8))},
        outputs=("a", "b", "c"),
        opset=18,
    )


@check("Slice")
def slice_(rng):
    big, small = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    choices = (
        ([3, 8], [1], [5], [1], [1]),
        ([3, 8], [-3], [big], [1], [1]),
        ([3, 8], [0], [-1], [-1], [1]),
        ([3, 8], [7], [small], [1], [-1]),
        ([3, 8], [1], [100], [1], [3]),
        ([3, 8], [-1], [0], [1], [-2]),
        ([3, 4, 6], [1, 2], [3, 5], [1, 2], [1, 2]),
        ([3, 8], [0, 2], [big, 5], [0, 1], [1, 1]),
        ([3, 8], [100], [-100], [1], [-3]),
    )
    for opset in versions("Slice"):
        for shape, starts, ends, axes, steps in choices:
            if opset < 10:
                if set(steps) != {1}:
                    continue
                nodes, constants = [node("Slice", starts=starts, ends=ends, axes=axes)], {}
            else:
                nodes = [node("Slice", "x s e a t")]
                constants = {
                    k: np.array(v, np.int64) for k, v in zip("seat", (starts, ends, axes, steps))
                }
            yield Case(nodes, {"x": wild(rng, shape)}, constants, opset=opset)


@check("Gather")
def gather(rng):
    for opset in versions("Gather"):
        for shape, axis, indices in (
            ([3, 5], 1, [0, -1, 2]),
            ([3, 5], -1, 3),
            ([3, 4, 5], 1, [[0, 1], [3, 3]]),
            ([3, 4, 5], 2, -2),
        ):
            yield Case(
                [node("Gather", "x i", axis=axis)],
                {"x": wild(rng, shape)},
                {"i": np.array(indices, np.int64)},
                opset=opset,
            )
        for table, shape in (
            ([7, 4], [5]),
            ([7, 4], [3, 2]),
            ([7], [3, 2]),
            ([7, 2, 3], [3, 2]),
            ([7, 33], [3, 1]),
        ):
            indices = rng.integers(0 if opset < 11 else -7, 7, shape).astype(np.int64)
            yield Case(
                [node("Gather", "t i")], {"i": indices}, {"t": wild(rng, table)}, opset=opset
            )


@check("OneHot")
def one_hot(rng):
    for opset in versions("OneHot", oldest=9):
        for shape, axis in (([4], -1), ([4, 3], -1), ([4, 3], 1), ([4, 2, 3], 2)):
            indices = rng.integers(-8, 8, shape).astype(np.int64)
            yield Case(
                [node("OneHot", "i d v", axis=axis)],
                {"i": indices},
                {"d": np.int64(5), "v": np.array([-1, 2.5], np.float32)},
                opset=opset,
            )


@check("Cast, CastLike")
def cast(rng):
    x = np.array([[0.0, -0.0, 1.5, -1.5, 2.99, -2.99, 100, 0.2]], np.float32)
    for opset in versions("Cast", oldest=9):
        for to in (
            TensorProto.INT64,
            TensorProto.INT32,
            TensorProto.BOOL,
            TensorProto.DOUBLE,
            TensorProto.FLOAT,
        ):
            yield Case([node("Cast", to=to)], {"x": x}, opset=opset)
        yield Case(
            [node("Cast", "x", "i", to=TensorProto.INT64), node("Cast", "i", to=TensorProto.FLOAT)],
            {"x": x},
            opset=opset,
        )
    ids = rng.integers(0, 50, (4, 3)).astype(np.int64)
    yield Case([node("Cast", to=TensorProto.FLOAT)], {"x": ids})
    yield Case([node("Cast", to=TensorProto.INT32)], {"x": ids})
    yield Case([node("CastLike", "x i")], {"x": x, "i": ids[:1]}, opset=15)
    yield Case([node("CastLike", "i x")], {"x": x, "i": ids[:1]}, opset=15)


@check("Dropout, Constant, Range, Size")
def others(rng):
    for opset in versions("Dropout"):
        yield Case([node("Dropout")], {"x": wild(rng, (3, 4))}, opset=opset)
    for opset in (13, newest_opset()):
        for attributes in (
            {"value_float": 2.5},
            {"value_floats": [1.0, 2.0, 3.0]},
            {"value": numpy_helper.from_array(np.float32([[1, 2, 3]]))},
        ):
            yield Case(
                [node("Constant", "", "c", **attributes), node("Mul", "x c")],
                {"x": wild(rng, (4, 3))},
                opset=opset,
            )
    yield Case(
        [node("Range", "a b d", "r"), node("Add", "x r")],
        {"x": ordinary(rng, (3, 4))},
        {"a": np.float32(1), "b": np.float32(2.9), "d": np.float32(0.5)},
        opset=11,
    )
    yield Case(
        [node("Range", "a b d", "r"), node("Gather", "x r", axis=1)],
        {"x": ordinary(rng, (3, 9))},
        {"a": np.int64(7), "b": np.int64(0), "d": np.int64(-2)},
        opset=11,
    )
    yield Case(
        [node("Size", "c", "n"), node("Cast", "n", "f", to=1), node("Mul", "x f")],
        {"x": ordinary(rng, (3, 2))},
        {"c": ordinary(rng, (4, 3))},
    )
