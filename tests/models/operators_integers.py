"""Checks of integers that wrap, of large ones, of casts and of float64: all exact, or nearly so where a
function of the C library is in it."""

import numpy as np
from onnx import helper

from operator_case import ML, TYPES, Case, check, node

INTEGERS = [np.dtype(t) for t in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")]
SIGNED = [t for t in INTEGERS if t.kind == "i"]
LARGE = 123456789  # no float


def as_f32(numbers, dtype):
    """The integers of the type that a float32 holds: what a request can carry."""
    info = np.iinfo(dtype)
    floats = np.array([np.float32(int(n)) for n in np.ravel(numbers)], object)
    kept = [int(f) if info.min <= int(f) <= info.max else 0 for f in floats]
    return np.array(kept, dtype).reshape(np.shape(numbers))


def edges(dtype):
    """Numbers around which the type's arithmetic turns, any of them."""
    info = np.iinfo(dtype)
    around = [info.min, info.max, 0, 1 << 24, -(1 << 24), 1 << 31, 1 << 32, -(1 << 31), 1 << 53]
    found = {n + d for n in around for d in (-2, -1, 0, 1, 2)} | {3, 7, -7, 100, 1000, LARGE, 46341}
    # What lies beyond int64 is no constant of ours, nor is -2^63.
    return sorted(n for n in found if max(info.min, 1 - (1 << 63)) <= n <= min(info.max, (1 << 63) - 1))


def any_of(rng, dtype, shape):
    chosen = rng.choice(np.array(edges(dtype), object), shape)
    small = rng.integers(0, 100, shape).astype(object)
    return np.where(rng.integers(0, 3, shape) == 0, small, chosen).astype(dtype)


def inputs_of(rng, dtype, shape):
    return as_f32(any_of(rng, dtype, shape), dtype)


def divisors(numbers):
    """Positive ones, but for the least integer: that by -1 is undefined, and traps in onnxruntime."""
    return np.abs(np.where(numbers == 0, numbers.dtype.type(1), numbers))


def both(rng, op, dtype, opset, second=lambda x: x, **attributes):
    """op(a, b) of two inputs, and with a constant on either side."""
    a, b = inputs_of(rng, dtype, (6, 9)), second(inputs_of(rng, dtype, (6, 9)))
    constant = second(any_of(rng, dtype, (1, 9)))
    yield Case([node(op, "a b", **attributes)], {"a": a, "b": b}, opset=opset)
    yield Case([node(op, "a c", **attributes)], {"a": a}, {"c": constant}, opset=opset)
    yield Case([node(op, "c b", **attributes)], {"b": b}, {"c": constant}, opset=opset)


@check("integers that wrap")
def wrapping(rng):
    for dtype in INTEGERS:
        for op in ("Add", "Sub", "Mul"):
            yield from both(rng, op, dtype, 14)
        yield from both(rng, "Div", dtype, 14, divisors)
        if dtype.kind == "i":
            yield Case([node("Neg")], {"x": inputs_of(rng, dtype, (5, 7))}, opset=13)
        for op in ("Abs", "Sign"):
            yield Case([node(op)], {"x": inputs_of(rng, dtype, (5, 7))}, opset=13)


@check("a chain of integers")
def chains(rng):
    """Each step wraps, not only the last."""
    for dtype in INTEGERS:
        x = inputs_of(rng, dtype, (7, 5))
        constants = {"a": dtype.type(101), "b": dtype.type(3), "c": dtype.type(7)}
        yield Case(
            [node("Mul", "x a", "m"), node("Add", "m c", "n"), node("Div", "n b", "d"),
             node("Mul", "d x")],
            {"x": x}, constants, opset=14,
        )
        yield Case(
            [node("Mul", "x a", "m"), node("Mul", "m a", "n"), node("Mul", "n a", "o"),
             node("Cast", "o", to=TYPES[np.dtype(np.float32)])],
            {"x": x}, constants, opset=14,
        )


@check("small integers in a row")
def small(rng):
    """Floats hold all of these; no two constants may become one, as 49 * (1 / 49) is no 1."""
    to, x = TYPES[np.dtype(np.int32)], np.arange(256, dtype=np.uint8).reshape(8, 32)
    for divisor in (3, 7, 41, 47, 49, 55, 61):
        start = [node("Cast", "x", "i", to=to), node("Add", "i a", "s"), node("Div", "s d", "q")]
        numbers = {"a": np.int32(divisor), "d": np.int32(divisor)}
        yield Case(start + [node("Identity", "q")], {"x": x}, numbers, opset=14)
        yield Case(start + [node("Mul", "q d", "m"), node("Sub", "s m")], {"x": x}, numbers)
        yield Case(
            [node("Cast", "x", "i", to=to), node("Sub", "c i", "s"), node("Div", "s d")],
            {"x": x}, {"c": np.int32(1000), "d": np.int32(-divisor)},
        )
    weights = {"w": rng.integers(-9, 9, (32, 3)).astype(np.int32), "d": np.int32(49)}
    yield Case(
        [node("Cast", "x", "i", to=to), node("MatMul", "i w", "m"), node("Mul", "m d", "n"),
         node("Div", "n d")],
        {"x": x}, weights,
    )


@check("Mod")
def mod(rng):
    for dtype in INTEGERS:
        for fmod in (0, 1):
            yield from both(rng, "Mod", dtype, 13, divisors, fmod=fmod)
        if dtype.kind == "i":
            a, b = inputs_of(rng, dtype, (6, 9)), rng.choice([-7, -3, -2, 2, 3, 100], (6, 9))
            for fmod in (0, 1):
                yield Case([node("Mod", "a b", fmod=fmod)], {"a": a, "b": b.astype(dtype)})
    x = np.float32([[5.5, -5.5, 7, 1e30, -3e38], [0.1, -0.0, 2.5, 3, 1e-40]])
    y = np.float32([[2, 2, -2.5, 7, 1e5], [0.03, 1, -0.7, np.inf, 3e-41]])
    yield Case([node("Mod", "x z", fmod=1)], {"x": x, "z": y})
    yield Case([node("Mod", "x c", fmod=1)], {"x": x}, {"c": y[1:]})


@check("BitShift, BitwiseAnd, BitwiseOr, BitwiseXor, BitwiseNot")
def bits(rng):
    for dtype in INTEGERS:
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            yield from both(rng, op, dtype, 18)
        yield Case([node("BitwiseNot")], {"x": inputs_of(rng, dtype, (4, 6))}, opset=18)
        if dtype.kind == "u":
            x = inputs_of(rng, dtype, (4, 6))
            by = rng.integers(0, 8 * dtype.itemsize, (4, 6)).astype(dtype)
            for direction in ("LEFT", "RIGHT"):
                yield Case([node("BitShift", "x b", direction=direction)], {"x": x, "b": by})
                yield Case(
                    [node("BitShift", "x b", direction=direction)], {"x": x}, {"b": by[:1]}
                )


@check("Pow of integers")
def power(rng):
    for dtype in (np.dtype(np.int32), np.dtype(np.int64)):
        base = as_f32(rng.choice([0, 1, 2, 3, -3, 46341, 100000, 1 << 24, -5], (5, 8)), dtype)
        for exponent in (0, 1, 2, 3, 5):
            yield Case([node("Pow", "x p")], {"x": base}, {"p": dtype.type(exponent)}, opset=13)
        powers = rng.integers(0, 6, (5, 8)).astype(dtype)
        yield Case([node("Pow", "x p")], {"x": base, "p": powers}, opset=13)
        yield Case([node("Pow", "c p")], {"p": powers}, {"c": dtype.type(7)}, opset=13)
        yield Case([node("Pow", "x p")], {"x": np.abs(base)}, {"p": np.float32(0.5)}, opset=13)


@check("Min, Max, Clip, Relu, PRelu of integers")
def bounds(rng):
    for dtype in INTEGERS:
        if dtype.itemsize == 2:
            continue  # onnxruntime has neither for them
        for op in ("Min", "Max"):
            yield from both(rng, op, dtype, 13)
        low, high = sorted(any_of(rng, dtype, 2))
        for names in (["x", "lo", "hi"], ["x", "lo"], ["x", "", "hi"]):
            yield Case(
                [helper.make_node("Clip", names, ["y"])],
                {"x": inputs_of(rng, dtype, (4, 6))},
                {k: np.array(v, dtype) for k, v in (("lo", low), ("hi", high)) if k in names},
                opset=13,
            )
    for dtype in (np.dtype(np.int8), np.dtype(np.int32), np.dtype(np.int64)):
        yield Case([node("Relu")], {"x": inputs_of(rng, dtype, (4, 6))}, opset=18)
    for dtype in (np.dtype(np.int32), np.dtype(np.int64)):
        x = inputs_of(rng, dtype, (4, 6))
        yield Case([node("PRelu", "x s")], {"x": x}, {"s": any_of(rng, dtype, (6,))}, opset=16)


@check("comparisons with constants that no float is")
def comparisons(rng):
    ops = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
    for dtype in INTEGERS:
        constant = np.array(edges(dtype), dtype)
        near = np.stack([constant, constant + dtype.type(1), constant - dtype.type(1)])
        for op in ops:
            for order in ("x c", "c x"):
                yield Case(
                    [node(op, order)], {"x": as_f32(near, dtype)}, {"c": constant}, opset=16
                )
            a = inputs_of(rng, dtype, (5, 9))
            yield Case([node(op, "a b")], {"a": a, "b": a[::-1].copy()}, opset=16)
            # What is computed is no float any more.
            yield Case(
                [node("Add", "x one", "z"), node(op, "z c")],
                {"x": as_f32(near, dtype)},
                {"c": constant, "one": dtype.type(1)},
                opset=16,
            )
    exact = np.float64([0.1, 1 / 3, 1e300, -1e300, 1e-300, 2, np.inf, -np.inf, np.nan, 16777217])
    x = np.float32(exact.clip(-3e38, 3e38))
    x = np.stack([x, np.nextafter(x, np.float32(9e9)), np.nextafter(x, -np.float32(9e9))])
    for op in ops:
        for order in ("x c", "c x"):
            yield Case(
                [node(op, order)], {"x": x.astype(np.float64)}, {"c": exact}, opset=16
            )


@check("a blocklist of ids")
def blocklist(rng):
    ids = np.array([[LARGE], [987654321], [1 << 40], [(1 << 40) + 1], [7]], np.int64)
    x = as_f32(np.array([LARGE, LARGE + 3, 1 << 40, 7, 8, 987654336]), np.int64).reshape(-1, 1)
    blocked = [
        node("Equal", "x ids", "e"),
        node("Cast", "e", "f", to=TYPES[np.dtype(np.float32)]),
        node("ReduceMax", "f", "m", axes=[1], keepdims=1),
    ]
    yield Case(blocked + [node("Identity", "m")], {"x": x}, {"ids": ids.reshape(1, -1)})
    number = np.int64(LARGE)
    yield Case([node("Where", "k x c")], {"k": x > 8, "x": x}, {"c": number}, opset=16)
    yield Case(
        [node("Where", "k x c", "w"), node("Equal", "w c")], {"k": x > 8, "x": x}, {"c": number}
    )
    # An id of two parts, only whole in 64 bits.
    a, b = as_f32(rng.integers(0, 9999, (6, 1)), np.int64), np.arange(6).reshape(-1, 1)
    key = [node("Mul", "a m", "p"), node("Add", "p b", "k")]
    keys = [int(n) * 1000003 + i for i, n in enumerate(a[:, 0])][:4]
    yield Case(
        key + [node("Equal", "k c")],
        {"a": a, "b": b},
        {"m": np.int64(1000003), "c": np.array(keys, np.int64)},
    )
    yield Case(
        key + [node("LabelEncoder", "k", domain=ML, keys_int64s=keys, values_int64s=[3, 1, 4, 1],
                    default_int64=-1)],
        {"a": a, "b": b},
        {"m": np.int64(1000003)},
        ml=2,
    )


@check("hash buckets")
def buckets(rng):
    for dtype in (np.dtype(np.int64), np.dtype(np.uint64), np.dtype(np.uint32)):
        x = inputs_of(rng, dtype, (9, 3))
        table = rng.standard_normal((97, 2)).astype(np.float32)
        constants = {
            "k": dtype.type(2654435761),
            "s": dtype.type(97),
            "z": dtype.type(0),
            "t": table,
        }
        hashed = [node("Mul", "x k", "h"), node("Mod", "h s", "i")]
        yield Case(hashed + [node("Identity", "i")], {"x": x}, constants)
        to = TYPES[np.dtype(np.int64)]
        yield Case(
            hashed + [node("Cast", "i", "j", to=to), node("Gather", "t j")], {"x": x}, constants
        )
    thousand = [
        node("Mul", "x k", "a"),
        node("Div", "a m", "b"),
        node("Mul", "b m", "c"),
        node("Sub", "a c"),
    ]
    x = as_f32(rng.integers(0, 1 << 24, (8, 1)), np.int64)
    yield Case(thousand, {"x": x}, {"k": np.int64(1001), "m": np.int64(1000)})


@check("ids of many fields in one table")
def fields(rng):
    """The sum of an id and an offset, as an index and as it is."""
    x = as_f32(any_of(rng, np.dtype(np.int64), (40, 3)), np.int64)
    x[::2] = rng.integers(0, 10, (20, 3))
    offsets = {"o": np.array([0, 10, 20], np.int64), "c": np.int64(7)}
    table = {"t": rng.standard_normal((30, 2)).astype(np.float32)}
    yield Case(
        [node("Add", "x o", "s"), node("Gather", "t s")], {"x": x[::2]}, {**offsets, **table}
    )
    yield Case([node("Add", "x o")], {"x": x}, offsets)
    yield Case([node("Add", "o x", "s"), node("Cast", "s", to=1)], {"x": x}, offsets)
    yield Case(
        [node("Add", "x o", "s"), node("Slice", "s c d e", "p"), node("Cast", "p", to=1)],
        {"x": x},
        {**offsets, "c": np.array([1]), "d": np.array([3]), "e": np.array([1])},
    )
    yield Case([node("Add", "x o", "s"), node("Mod", "s c")], {"x": x}, offsets)


@check("large integers that move")
def moves(rng):
    """Slices, transposes and the like of integers that take two columns."""
    x = inputs_of(rng, np.int64, (4, 2, 6))
    large = [node("Mul", "x k", "l")]
    k = {"k": np.int64(1000003), "m": np.int64(1009)}
    last = [node("Mod", "o m")]
    indices = {"i": np.array([5, 0, 0, 3], np.int64)}
    axes = {"b": np.array([1], np.int64), "e": np.array([5], np.int64),
            "a": np.array([2], np.int64), "t": np.array([2], np.int64)}
    shape = {"s": np.array([-1, 3, 4], np.int64)}
    for middle, more in (
        ([node("Transpose", "l", "o", perm=[0, 2, 1])], {}),
        ([node("Slice", "l b e a t", "o")], axes),
        ([node("Gather", "l i", "o", axis=2)], indices),
        ([node("Reshape", "l s", "o")], shape),
        ([node("Concat", "l x l", "o", axis=1)], {}),
        ([node("Split", "l", "o q", axis=2)], {}),
        ([node("Where", "w l x", "o")], {"w": np.array([True, False, True, True, False, False])}),
    ):
        yield Case(large + middle + last, {"x": x}, {**k, **more}, opset=13)
    yield Case(large + [node("Identity", "l")], {"x": x}, k)
    yield Case(
        large + [node("Expand", "c n", "o"), node("Add", "o l", "p"), node("Mod", "p m")],
        {"x": x},
        {**k, "c": np.int64(LARGE), "n": np.array([1, 2, 6], np.int64)},
        opset=14,
    )


FLOATS = [1.7, -1.7, 300, -1, -129, 70000, -70000, 3e9, -3e9, 5e9, 1e19, -1e19, 1e30, 0.5, -0.5]
FLOATS += [np.inf, -np.inf, np.nan, 2**24 + 2, 127.9, 128, -128.9, 255.5, 256, 65535.9, 2**31]


@check("Cast between numbers")
def casts(rng):
    x = np.float32([FLOATS, [-f for f in FLOATS]])
    for to in [*INTEGERS, *(np.dtype(t) for t in (np.float32, np.float64, np.bool_))]:
        cast = [node("Cast", to=TYPES[to])]
        yield Case(cast, {"x": x}, opset=13)
        yield Case(cast, {"x": x.astype(np.float64)}, opset=13)
        wide = [node("Mul", "x k", "l"), node("Cast", "l", to=TYPES[to])]
        yield Case(wide, {"x": x.astype(np.float64)}, {"k": np.float64(1.0000001)}, opset=13)
        for dtype in INTEGERS:
            numbers = inputs_of(rng, dtype, (5, 9))
            yield Case(cast, {"x": numbers}, opset=13)
            yield Case(
                [node("Mul", "x k", "l"), node("Cast", "l", to=TYPES[to])],
                {"x": numbers},
                {"k": dtype.type(113)},
                opset=14,
            )
            back = [node("Cast", "x", "l", to=TYPES[to]), node("Cast", "l", to=TYPES[dtype])]
            yield Case(back, {"x": numbers}, opset=13)
        yield Case(
            [node("Cast", "c", "d", to=TYPES[to]), node("Cast", "d", "f", to=1),
             node("Add", "x f")],
            {"x": np.zeros((2, 5), np.float32)},
            {"c": np.array([300, -1, 70000, LARGE, 7], np.int64)},
            opset=14,
        )
        yield Case([node("CastLike", "x c")], {"x": x}, {"c": np.zeros(1, to)}, opset=15)


@check("reductions of integers")
def reductions(rng):
    for dtype in (np.dtype(np.int32), np.dtype(np.int64)):
        small = rng.integers(-9, 9, (5, 3, 4)).astype(dtype)
        large = as_f32(rng.integers(-(1 << 30), 1 << 30, (5, 3, 4)), dtype)
        for x in (small, large):
            for op in ("Sum", "Mean", "Min", "Max", "Prod", "L1", "L2", "SumSquare", "LogSum"):
                if op == "LogSum":
                    x = np.abs(x) + dtype.type(1)
                if op == "Prod":
                    x = x % 50
                for axes in ([1], [1, 2], [-1]):
                    yield Case([node("Reduce" + op, axes=axes)], {"x": x}, opset=11)
            for op in ("ArgMax", "ArgMin"):
                yield Case([node(op, axis=1)], {"x": x}, opset=13)
                yield Case([node(op, axis=2, select_last_index=1)], {"x": x}, opset=13)
        top = as_f32(np.full((2, 4), np.iinfo(dtype).max // 2), dtype)
        yield Case([node("ReduceSum", axes=[1])], {"x": top}, opset=11)
    x = inputs_of(rng, np.int64, (6, 5))
    for op in ("ReduceMin", "ReduceMax", "ArgMax", "ArgMin"):
        attributes = {"axes": [1]} if op.startswith("Reduce") else {"axis": 1}
        yield Case(
            [node("Add", "x k", "l"), node(op, "l", **attributes)],
            {"x": x},
            {"k": np.int64(1)},
            opset=13,
        )


@check("MatMul of integers")
def matmul(rng):
    for dtype in (np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.uint32)):
        x, w = inputs_of(rng, dtype, (4, 6)), any_of(rng, dtype, (6, 3))
        yield Case([node("MatMul", "x w")], {"x": x}, {"w": w}, opset=13)
        z = inputs_of(rng, dtype, (4, 3, 6))
        yield Case([node("MatMul", "z w")], {"z": z}, {"w": w}, opset=13)
        yield Case([node("MatMul", "z v")], {"z": z, "v": inputs_of(rng, dtype, (4, 6, 2))})
    bits8 = rng.integers(0, 255, (4, 6)).astype(np.uint8)
    yield Case(
        [node("Cast", "x", "i", to=TYPES[np.dtype(np.int32)]), node("MatMul", "i w"), ],
        {"x": bits8},
        {"w": rng.integers(-100, 100, (6, 3)).astype(np.int32)},
    )


@check("LabelEncoder and OneHotEncoder of large integers")
def labels(rng):
    keys = [LARGE, LARGE + 3, 16777217, 16777218, 5, 1 << 40]
    x = as_f32(np.array(keys + [16777216, 7]), np.int64).reshape(-1, 1)
    yield Case(
        [node("LabelEncoder", domain=ML, keys_int64s=keys, values_int64s=[1, 2, 3, 4, 5, 6])],
        {"x": x}, ml=2,
    )
    yield Case(
        [node("LabelEncoder", domain=ML, keys_int64s=keys[:1], values_floats=[1.5],
              default_float=0.5)],
        {"x": x}, ml=2,
    )
    yield Case(
        [node("OneHotEncoder", domain=ML, cats_int64s=keys)], {"x": x.reshape(-1)}, ml=1
    )
    yield Case(
        [node("Imputer", domain=ML, imputed_value_int64s=[LARGE], replaced_value_int64=16777217)],
        {"x": x}, ml=1,
    )


@check("float64")
def doubles(rng):
    x = rng.standard_normal((6, 5)).astype(np.float32).astype(np.float64)
    rate = (1.0842 + rng.standard_normal((6, 5)) * 5e-5).astype(np.float32).astype(np.float64)
    big = {"c": np.float64(1e300), "d": np.float64(1e-300), "e": np.float64(1e8)}
    tight = 1e-7
    for nodes in (
        [node("Mul", "x c", "a"), node("Div", "a c")],
        [node("Mul", "x d", "a"), node("Mul", "a c")],
        [node("Add", "x e", "a"), node("Sub", "a e")],
        [node("Mul", "x c", "a"), node("Abs", "a", "b"), node("Log", "b")],
        [node("Mul", "x c", "a"), node("Abs", "a", "b"), node("Sqrt", "b", "s"),
         node("Div", "s c")],
        [node("Mul", "x c", "a"), node("Greater", "a c")],
        [node("Mul", "x c", "a"), node("Min", "a c", "b"), node("Div", "b c")],
        [node("Mul", "x c", "a"), node("Where", "k a x", "b"), node("Div", "b c")],
        [node("Mul", "x c", "a"), node("Concat", "a x", "b", axis=1), node("Div", "b c")],
        [node("Mul", "x c", "a"), node("ReduceSum", "a ax", "b"), node("Div", "b c")],
        [node("Mul", "x c", "a"), node("ReduceMax", "a", "b", axes=[1]), node("Div", "b c")],
        [node("Mul", "x c", "a"), node("ReduceMean", "a", "b", axes=[1]), node("Div", "b c")],
        [node("Mul", "x c", "a"), node("ArgMax", "a", axis=1)],
        [node("Mul", "x c", "a"), node("Neg", "a", "n"), node("Div", "n c")],
        [node("Mul", "x c", "a"), node("Clip", "a d c", "n"), node("Div", "n c")],
        [node("Mul", "x c", "a"), node("Cast", "a", to=1)],
        [node("Mul", "x c", "a"), node("Exp", "x", "b"), node("Pow", "b e3", "p"),
         node("Mul", "p a", "q"), node("Div", "q c")],
    ):
        rounded = any(n.op_type == "Exp" for n in nodes)
        constants = {**big, "e3": np.float64(3), "k": np.array([True, False, True, True, True]),
                     "ax": np.array([1], np.int64)}
        used = {i for n in nodes for i in n.input}
        constants = {k: v for k, v in constants.items() if k in used}
        yield Case(nodes, {"x": x}, constants, opset=13, tolerance=2e-6 if rounded else tight)
    scaler = [node("Sub", "x mean", "a"), node("Div", "a std")]
    constants = {"mean": np.full(5, 1.0842), "std": np.full(5, 1.08e-5)}
    yield Case(scaler, {"x": rate}, constants, opset=13, tolerance=tight)
    weights = {"w": rng.standard_normal((5, 4)) * 1e-3}
    yield Case(
        scaler + [node("MatMul", "y w", "z")], {"x": rate}, {**constants, **weights},
        outputs=("z",), opset=13, tolerance=2e-6,
    )
    ids = as_f32(rng.integers(0, 1 << 30, (6, 2)), np.int64)
    to = TYPES[np.dtype(np.float64)]
    yield Case(
        [node("Add", "x k", "a"), node("Cast", "a", "d", to=to), node("Sub", "d s")],
        {"x": ids}, {"k": np.int64(1), "s": np.float64(1 << 29)}, opset=14,
    )
