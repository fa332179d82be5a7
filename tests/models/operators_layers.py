"""Checks of products and normalizations, of patterns that exporters write, and of random graphs."""

import numpy as np

from operator_case import check, node, ordinary, shape_of, versions, wild, Case, CHECKS, INF, NAN

# ---- products and normalizations ----


@check("Gemm")
def gemm(rng):
    for opset in versions("Gemm"):
        for i in range(6):
            rows, inner, cols = (int(rng.choice([1, 2, 5, 16, 17, 33])) for _ in range(3))
            trans, attributes = bool(i % 2), {}
            if i > 1:
                attributes = {"alpha": 0.5, "beta": float(rng.choice([2.0, 0.0, -1.0]))}
            c = ordinary(rng, [[cols], [1, cols], [1], [], [1, 1], [cols]][i])
            constants = {"b": ordinary(rng, (cols, inner) if trans else (inner, cols)), "c": c}
            names = "a b c" if i or opset < 11 else "a b"
            if names == "a b":
                del constants["c"]
            yield Case(
                [node("Gemm", names, transB=int(trans), **attributes)],
                {"a": ordinary(rng, (rows, inner))},
                constants,
                opset=opset,
                tolerance=1e-5,
            )
    a, c = ordinary(rng, (3, 4)), ordinary(rng, (3, 5))
    yield Case(
        [node("Gemm", "a b c", beta=0.5)],
        {"a": a, "c": c},
        {"b": ordinary(rng, (4, 5))},
        tolerance=1e-5,
    )
    yield Case(
        [node("Gemm", "k b", "w", transA=1), node("MatMul", "a w")],
        {"a": a},
        {"k": ordinary(rng, (6, 4)), "b": ordinary(rng, (6, 5))},
        tolerance=1e-5,
    )


@check("MatMul")
def matmul(rng):
    shapes = [
        ([3, 4], [4, 5]),
        ([3, 2, 4], [4, 5]),
        ([2, 3, 2, 4], [4, 17]),
        ([3, 4], [4]),
        ([3, 2, 4], [1, 4, 5]),
        ([3, 2, 4], [4]),
        ([7, 33], [33, 64]),
        ([1, 70], [70, 1]),
    ]
    for opset in versions("MatMul"):
        for a, b in shapes:
            yield Case(
                [node("MatMul", "a b")],
                {"a": ordinary(rng, a)},
                {"b": ordinary(rng, b)},
                opset=opset,
                tolerance=1e-5,
            )
        for b, a in (
            ([3, 4, 5], [2, 4]),
            ([3, 2, 4, 5], [3, 4]),
            ([3, 4, 5], [1, 2, 4]),
            ([3, 4, 5], [4]),
        ):
            yield Case(
                [node("MatMul", "a b")],
                {"b": ordinary(rng, b)},
                {"a": ordinary(rng, a)},
                opset=opset,
                tolerance=1e-5,
            )
        for a, b in (
            ([3, 2, 4], [3, 4, 5]),
            ([2, 3, 2, 4], [2, 3, 4, 2]),
            ([2, 1, 2, 4], [2, 3, 4, 2]),
        ):
            yield Case(
                [node("MatMul", "a b")],
                {"a": ordinary(rng, a), "b": ordinary(rng, b)},
                opset=opset,
                tolerance=1e-5,
            )


@check("BatchNormalization")
def batch_norm(rng):
    for opset in versions("BatchNormalization"):
        for shape in ([4, 6], [3, 5, 4], [2, 3, 2, 4]):
            c = {n: ordinary(rng, shape[1]) for n in ("s", "b", "m")}
            c["v"] = np.abs(ordinary(rng, shape[1])) + 0.1
            for attributes in ({}, {"epsilon": 1e-2}):
                yield Case(
                    [node("BatchNormalization", "x s b m v", **attributes)],
                    {"x": ordinary(rng, shape)},
                    c,
                    opset=opset,
                    tolerance=5e-6,
                )


@check("LayerNormalization")
def layer_norm(rng):
    for opset in versions("LayerNormalization"):
        for shape, axis, scale in (
            ([3, 8], -1, [8]),
            ([3, 2, 33], -1, [33]),
            ([2, 3, 4], 1, [3, 4]),
            ([2, 3, 4], -1, [1]),
            ([2, 3, 4], -1, [3, 1]),
            ([2, 3, 4], 2, [1, 4]),
        ):
            c = {"s": ordinary(rng, scale), "b": ordinary(rng, scale)}
            yield Case(
                [node("LayerNormalization", "x s b", axis=axis)],
                {"x": ordinary(rng, shape)},
                c,
                opset=opset,
                tolerance=1e-5,
            )
        yield Case(
            [node("LayerNormalization", "x s", epsilon=0.1)],
            {"x": ordinary(rng, (3, 5))},
            {"s": ordinary(rng, 5)},
            opset=opset,
            tolerance=1e-5,
        )
        yield Case(
            [node("LayerNormalization", "x s b", "y m d")],
            {"x": ordinary(rng, (3, 4, 5))},
            {"s": ordinary(rng, 5), "b": ordinary(rng, 5)},
            outputs=("y", "m", "d"),
            opset=opset,
            tolerance=1e-5,
        )
        yield Case(
            [node("LayerNormalization", "x s b")],
            {"x": ordinary(rng, (3, 5)), "b": ordinary(rng, (3, 5))},
            {"s": ordinary(rng, 5)},
            opset=opset,
            tolerance=1e-5,
        )


@check("RMSNormalization")
def rms_norm(rng):
    for shape, axis, scale in (([3, 8], -1, [8]), ([3, 2, 33], -1, [33]), ([2, 3, 4], 1, [3, 4])):
        yield Case(
            [node("RMSNormalization", "x s", axis=axis)],
            {"x": ordinary(rng, shape)},
            {"s": ordinary(rng, scale)},
            opset=23,
            tolerance=1e-5,
        )


@check("LpNormalization")
def lp_norm(rng):
    for opset in versions("LpNormalization"):
        for p in (1, 2):
            for shape, axis in (([3, 8], -1), ([3, 2, 5], 1), ([2, 3, 4], 2)):
                x = ordinary(rng, shape)
                x[0] = 0
                yield Case(
                    [node("LpNormalization", axis=axis, p=p)], {"x": x}, opset=opset, tolerance=2e-6
                )


def softmax(op):
    def cases(rng):
        for opset in versions(op):
            for axis in (None, 1, -1, 2, -2):
                for low in (2, 3, 4):
                    shape = shape_of(rng, low, low)
                    at = (axis if axis >= 0 else axis + low) if axis is not None else 1
                    if not 1 <= at < low:
                        continue
                    x = wild(rng, shape, np.array([0, -0.0, 80, -80, 1e4, -1e4, NAN], np.float32))
                    yield Case(
                        [node(op, **({} if axis is None else {"axis": axis}))],
                        {"x": x},
                        opset=opset,
                        tolerance=4e-6,
                    )
        x = ordinary(rng, (2, 5))
        x[0, 1] = -INF
        yield Case([node(op, axis=1)], {"x": x}, opset=13, tolerance=4e-6)

    CHECKS.append((op, cases))


softmax("Softmax")
softmax("LogSoftmax")


# ---- whole patterns ----


@check("patterns of exporters")
def patterns(rng):
    x = ordinary(rng, (7, 33))
    w = ordinary(rng, (33, 16)) / 6
    half, one, root = np.float32(0.5), np.float32(1), np.float32(np.sqrt(2))
    gelu = [
        node("Div", "h root", "a"),
        node("Erf", "a", "e"),
        node("Add", "e one", "p"),
        node("Mul", "h p", "q"),
        node("Mul", "q half"),
    ]
    yield Case(
        [node("MatMul", "x w", "h")] + gelu,
        {"x": x},
        {"w": w, "half": half, "one": one, "root": root},
        tolerance=1e-5,
    )
    yield Case(
        [node("Gemm", "x w", "h"), node("Sigmoid", "h", "s"), node("Mul", "h s")],
        {"x": x},
        {"w": w},
        tolerance=1e-5,
    )
    yield Case(
        [
            node("MatMul", "x w", "h"),
            node("Add", "h b", "g"),
            node("Relu", "g", "r"),
            node("MatMul", "r v", "k"),
            node("Add", "k x", "z"),
            node("LayerNormalization", "z s t"),
        ],
        {"x": x},
        {
            "w": w,
            "b": ordinary(rng, 16),
            "v": ordinary(rng, (16, 33)),
            "s": ordinary(rng, 33),
            "t": ordinary(rng, 33),
        },
        opset=17,
        tolerance=2e-5,
    )
    yield Case(
        [
            node("BatchNormalization", "x s b m v", "n"),
            node("Gemm", "n w c", "h"),
            node("Relu", "h"),
        ],
        {"x": x},
        {
            "s": ordinary(rng, 33),
            "b": ordinary(rng, 33),
            "m": ordinary(rng, 33),
            "v": np.abs(ordinary(rng, 33)) + 0.5,
            "w": w,
            "c": ordinary(rng, 16),
        },
        opset=15,
        tolerance=2e-5,
    )
    qkv = [
        node("MatMul", "x wq", "q"),
        node("MatMul", "x wk", "k"),
        node("MatMul", "x wv", "v"),
        node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("MatMul", "q kt", "a"),
        node("Softmax", "a", "p"),
        node("MatMul", "p v"),
    ]
    yield Case(
        qkv,
        {"x": ordinary(rng, (3, 5, 8))},
        {n: ordinary(rng, (8, 6)) / 3 for n in ("wq", "wk", "wv")},
        tolerance=1e-5,
    )


def random_graph(rng):
    """Some layers that use what was there before: chains, residuals, concatenations."""
    cols = int(rng.choice([3, 8, 17, 32]))
    values, constants, nodes = [("x", cols)], {}, []

    def constant(shape, scale=1.0):
        constants["c%d" % len(constants)] = ordinary(rng, shape, scale)
        return "c%d" % (len(constants) - 1)

    for i in range(int(rng.integers(3, 12))):
        name, width = values[-1 if rng.integers(3) else int(rng.integers(len(values)))]
        out, kind = "v%d" % i, int(rng.integers(8))
        if kind == 0:
            wide = int(rng.choice([1, 4, 16, 21]))
            nodes.append(
                node(
                    "Gemm",
                    "%s %s %s" % (name, constant((width, wide), width**-0.5), constant(wide)),
                    out,
                )
            )
            width = wide
        elif kind == 1:
            wide = int(rng.choice([2, 16, 24]))
            nodes.append(
                node("MatMul", "%s %s" % (name, constant((width, wide), width**-0.5)), out)
            )
            width = wide
        elif kind == 2:
            op = str(
                rng.choice(
                    ["Relu", "Sigmoid", "Tanh", "Softplus", "Elu", "HardSigmoid", "Neg", "Abs"]
                )
            )
            nodes.append(node(op, name, out))
        elif kind in (3, 4):
            op = str(rng.choice(["Add", "Sub", "Mul"]))
            c = constant([width] if rng.integers(2) else [])
            nodes.append(node(op, " ".join([name, c] if rng.integers(2) else [c, name]), out))
        elif kind == 5:
            same = [v for v, w in values if w == width]
            nodes.append(
                node(
                    str(rng.choice(["Add", "Mul", "Max", "Sub"])),
                    "%s %s" % (name, rng.choice(same)),
                    out,
                )
            )
        elif kind == 6:
            other = values[int(rng.integers(len(values)))]
            nodes.append(node("Concat", "%s %s" % (name, other[0]), out, axis=1))
            width += other[1]
        else:
            first = int(rng.integers(width))
            last = int(rng.integers(first, width)) + 1
            nodes.append(node("Slice", name, out, starts=[first], ends=[last], axes=[1]))
            width = last - first
        values.append((out, width))
    wanted = [values[-1][0]] + [v for v, _ in values[1:-1] if rng.integers(8) == 0]
    x = ordinary(rng, (int(rng.choice([1, 4, 50])), cols))
    return Case(nodes, {"x": x}, constants, outputs=wanted, opset=9, tolerance=1e-4)


@check("random graphs")
def random_graphs(rng):
    for _ in range(150):
        yield random_graph(rng)
