"""Checks of operators that work on numbers one by one, and of reductions."""

import numpy as np
from onnx import helper

from operator_case import (
    all_special,
    broadcast_shapes,
    check,
    few,
    node,
    ordinary,
    shape_of,
    versions,
    wild,
    with_axes,
    Case,
    CHECKS,
    FINITE,
    INF,
    NAN,
    SPECIAL,
)

# ---- elementwise ----


def unary(op, tolerance=0.0, special=SPECIAL, attributes=({},), bound=None):
    """Cases of f(x): all special values, and random shapes."""

    def cases(rng):
        for opset in versions(op):
            for chosen in attributes:
                xs = [all_special(special)] + [
                    wild(rng, shape_of(rng, 1), special) for _ in range(2)
                ]
                for x in xs:
                    if bound is not None:
                        x = np.clip(x, -bound, bound)
                    yield Case(
                        [node(op, **chosen)],
                        {"x": x},
                        opset=opset,
                        tolerance=tolerance,
                        fixed=rng.integers(2) == 0,
                    )

    CHECKS.append((op, cases))


for name in ("Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Relu", "Reciprocal", "IsNaN"):
    unary(name)
unary("Sqrt")
unary("Exp", 2e-6)
unary("Log", 2e-6)
unary("Erf", 2e-6)
unary("Sigmoid", 2e-6)
unary("Tanh", 2e-6)
unary("LeakyRelu", 0, attributes=({}, {"alpha": 0.25}))
unary("Elu", 2e-6, attributes=({}, {"alpha": 0.5}))
unary("Selu", 2e-6, attributes=({}, {"alpha": 0.5, "gamma": 2.0}))
unary("Celu", 2e-6, attributes=({}, {"alpha": 0.5}))
unary("HardSigmoid", 2e-7, attributes=({}, {"alpha": 0.125, "beta": 0.25}))
unary("HardSwish", 2e-6, FINITE, bound=1e30)
unary("Softplus", 2e-6)
unary("Softsign", 1e-6, bound=1e30)
unary("Mish", 2e-6, FINITE, bound=1e30)
unary("ThresholdedRelu", 0, attributes=({}, {"alpha": 0.25}))
unary("Gelu", 2e-6, FINITE, attributes=({}, {"approximate": "tanh"}), bound=1e6)
unary("IsInf", 0, attributes=({}, {"detect_negative": 0}, {"detect_positive": 0}))
unary("Identity")


@check("Swish")
def swish(rng):
    for alpha in (1.0, 1.5):
        yield Case(
            [node("Swish", alpha=alpha)],
            {"x": np.clip(all_special(FINITE), -1e30, 1e30)},
            {"a": np.float32(alpha)},
            opset=24,
            tolerance=2e-6,
            oracle=[node("Mul", "x a", "m"), node("Sigmoid", "m", "s"), node("Mul", "x s")],
        )


@check("Clip")
def clip(rng):
    for opset in versions("Clip"):
        for low, high in (
            (-1.0, 0.5),
            (0.0, 6.0),
            (None, 1.0),
            (-2.0, None),
            (None, None),
            (1.0, -1.0),
        ):
            x = np.concatenate([all_special(), wild(rng, (3, len(SPECIAL)))])
            if opset < 11:
                if (low, high) == (1.0, -1.0):
                    continue  # onnxruntime refuses it
                attributes = {k: v for k, v in (("min", low), ("max", high)) if v is not None}
                yield Case([node("Clip", **attributes)], {"x": x}, opset=opset)
                continue
            bounds = {k: np.float32(v) for k, v in (("lo", low), ("hi", high)) if v is not None}
            names = ["x", "lo" if low is not None else "", "hi" if high is not None else ""]
            yield Case([helper.make_node("Clip", names, ["y"])], {"x": x}, bounds, opset=opset)


def binary(op, tolerance=0.0, oldest=7, special=SPECIAL, make=wild, signs=True):
    def cases(rng):
        for opset in versions(op, oldest=oldest):
            for i in range(6):
                shape, other = broadcast_shapes(rng)
                x, c = make(rng, shape), make(rng, other)
                if i == 0:
                    grid = np.array(np.meshgrid(special, special), np.float32).reshape(2, -1)
                    yield Case(
                        [node(op, "a b")],
                        {"a": grid[:1], "b": grid[1:]},
                        opset=opset,
                        tolerance=tolerance,
                    )
                elif i < 3:
                    yield Case(
                        [node(op, "x c" if i == 1 else "c x")],
                        {"x": x},
                        {"c": c},
                        opset=opset,
                        tolerance=tolerance,
                    )
                else:
                    inner = [d if rng.integers(2) else 1 for d in shape[1:]]
                    yield Case(
                        [node(op, "x z")],
                        {"x": x, "z": make(rng, [shape[0], *inner])},
                        opset=opset,
                        tolerance=tolerance,
                        fixed=bool(i % 2),
                    )

    CHECKS.append((op, cases))


for name in ("Add", "Sub", "Mul", "Div"):
    binary(name)
binary("Pow", 2e-6)
binary("Less", make=few, oldest=9)
binary("LessOrEqual", make=few)
binary("Greater", make=few, oldest=9)
binary("GreaterOrEqual", make=few)
binary("Equal", make=few, oldest=11)


@check("Pow of special exponents")
def pow_special(rng):
    for power in (2.0, 0.5, 1.0, -1.0, 0.0, 3.0):
        yield Case(
            [node("Pow", "x c")], {"x": all_special()}, {"c": np.float32(power)}, tolerance=2e-6
        )
        yield Case(
            [node("Pow", "x c")],
            {"x": ordinary(rng, (3, 4))},
            {"c": np.full((1, 4), power, np.float32)},
            tolerance=2e-6,
        )


@check("PRelu")
def prelu(rng):
    for opset in versions("PRelu"):
        for _ in range(4):
            shape = shape_of(rng, 2, 4)
            slope = [d if rng.integers(2) else 1 for d in shape[1:]]
            yield Case(
                [node("PRelu", "x s")],
                {"x": wild(rng, shape)},
                {"s": ordinary(rng, slope)},
                opset=opset,
            )


@check("integers")
def integers(rng):
    """Integer division rounds towards 0; other arithmetic is exact."""
    a = rng.integers(-50, 50, (5, 8)).astype(np.int64)
    b = rng.choice([-7, -3, -2, -1, 1, 2, 3, 9], (5, 8)).astype(np.int64)
    for op in ("Add", "Sub", "Mul", "Div", "Equal", "Less", "Min", "Max"):
        yield Case([node(op, "a b")], {"a": a, "b": b}, opset=13)
        yield Case([node(op, "a b")], {"a": a}, {"b": b[:1]}, opset=13)
    for op in ("Abs", "Neg", "Sign"):
        yield Case([node(op)], {"x": a}, opset=14)
    yield Case([node("Add", "a b", "s"), node("Div", "s b")], {"a": a, "b": b})
    yield Case([node("ReduceMean", axes=[1])], {"x": a.astype(np.int32)})


@check("Min, Max, Sum, Mean")
def variadic(rng):
    for op in ("Min", "Max", "Sum", "Mean"):
        for opset in versions(op, oldest=8):
            for count in (1, 2, 3, 5):
                shape = shape_of(rng, 2, 3)
                make, tolerance = (wild, 0) if op in ("Min", "Max") else (ordinary, 2e-6)
                xs = {"x%d" % i: make(rng, shape) for i in range(count)}
                constants = {"c": make(rng, shape[1:])} if count > 2 else {}
                yield Case(
                    [node(op, " ".join([*xs, *constants]))],
                    xs,
                    constants,
                    opset=opset,
                    tolerance=tolerance,
                )


@check("And, Or, Xor, Not")
def logic(rng):
    for op in ("And", "Or", "Xor"):
        for constant in (False, True):
            a, b = (rng.integers(0, 2, (4, 6)).astype(bool) for _ in range(2))
            yield Case(
                [node(op, "a b")],
                {"a": a} if constant else {"a": a, "b": b},
                {"b": b[:1]} if constant else {},
                opset=7,
            )
    yield Case([node("Not")], {"x": rng.integers(0, 2, (4, 6)).astype(bool)}, opset=7)
    x = ordinary(rng, (4, 6))
    yield Case(
        [node("Greater", "x zero", "g"), node("Not", "g", "n"), node("Where", "n x zero")],
        {"x": x},
        {"zero": np.float32(0)},
    )


@check("Where")
def where(rng):
    for opset in versions("Where"):
        for _ in range(4):
            shape, other = broadcast_shapes(rng)
            condition = rng.integers(0, 2, shape).astype(bool)
            x, c = wild(rng, shape), wild(rng, other)
            yield Case([node("Where", "k x c")], {"k": condition, "x": x}, {"c": c}, opset=opset)
            yield Case([node("Where", "k c x")], {"k": condition, "x": x}, {"c": c}, opset=opset)
            yield Case(
                [node("Where", "k x z")],
                {"x": x, "z": wild(rng, shape)},
                {"k": condition[:1]},
                opset=opset,
            )


# ---- reductions ----


def reduction(op, tolerance, since=18, special=FINITE, bound=1e3):
    def cases(rng):
        for opset in versions(op):
            for shape, axes in (
                ([3, 5], [1]),
                ([3, 4, 5], [1]),
                ([3, 4, 5], [-1]),
                ([2, 3, 4, 5], [1, 3]),
                ([3, 4, 5], [2, 1]),
                ([4, 33], [-1]),
            ):
                nodes, constants = with_axes(op, opset, since, axes, keepdims=int(rng.integers(2)))
                x = np.clip(wild(rng, shape, special), -bound, bound)
                if op == "ReduceLogSum":
                    x = np.abs(x)
                if op == "ReduceProd":
                    x = np.clip(x, -2, 2)
                yield Case(nodes, {"x": x}, constants, opset=opset, tolerance=tolerance)
            if opset >= since:
                yield Case(
                    [node(op, noop_with_empty_axes=1)],
                    {"x": np.abs(ordinary(rng, (3, 4)))},
                    opset=opset,
                    tolerance=tolerance,
                )
        nodes, constants = with_axes(op, 13, since, [1])
        yield Case(
            nodes,
            {"x": np.float32([[NAN, 1, 2], [1, 2, 3]])},
            constants,
            opset=13,
            tolerance=tolerance,
        )

    CHECKS.append((op, cases))


reduction("ReduceSum", 1e-5, 13, bound=30)
reduction("ReduceMean", 1e-5, bound=30)
reduction("ReduceMin", 0)
reduction("ReduceMax", 0)
reduction("ReduceProd", 1e-5)
reduction("ReduceL1", 1e-5)
reduction("ReduceL2", 1e-5)
reduction("ReduceSumSquare", 1e-5)
reduction("ReduceLogSum", 1e-5)
reduction("ReduceLogSumExp", 1e-5, bound=50)


@check("ReduceLogSumExp of large numbers")
def log_sum_exp(rng):
    x = np.float32([[1e4, 1e4 - 1, -1e4], [-1e4, -1e4, -1e4], [-INF, -INF, -INF], [INF, 0, 1]])
    yield Case([node("ReduceLogSumExp", axes=[1])], {"x": x}, tolerance=1e-5)


@check("ArgMax, ArgMin")
def arg(rng):
    for op in ("ArgMax", "ArgMin"):
        for opset in versions(op):
            for shape, axis in (([3, 5], 1), ([3, 4, 5], 1), ([3, 4, 5], -1), ([3, 40], 1)):
                for last in (0, 1) if opset >= 12 else (0,):
                    more = {"select_last_index": last} if last else {}
                    yield Case(
                        [node(op, axis=axis, keepdims=int(rng.integers(2)), **more)],
                        {"x": few(rng, shape)},
                        opset=opset,
                    )
