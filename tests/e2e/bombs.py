"""Small ONNX files that are large or slow to pack: what somebody who means harm would publish.

large(layers, seed) becomes a plan of 16 MiB for each layer; slow(products) takes some seconds of
computing for each product, before a plan is there; hungry(rows) keeps rows of 2^20 columns while it
runs.
"""

import struct

from mlp import field, node, port, text


def int64s(name, values):
    """TensorProto: INT64, raw_data."""
    return (field(1, len(values)) + field(2, 7) + text(8, name) +
            field(9, struct.pack(f"<{len(values)}q", *values)))


def constant(shape, output, bits):
    """A ConstantOfShape node: all its values are the f32 of those bits."""
    value = field(1, 1) + field(2, 1) + field(9, struct.pack("<I", bits))
    return node("ConstantOfShape", [shape], output) + field(5, text(1, "value") + field(5, value) +
                                                            field(20, 4))


def model(nodes, shapes, in_cols, out_cols):
    graph = (b"".join(field(1, one) for one in nodes) + text(2, "bomb") +
             b"".join(field(5, int64s(name, dims)) for name, dims in shapes) +
             field(11, port("x", in_cols)) + field(12, port("y", out_cols)))
    return field(1, 8) + field(7, graph) + field(8, text(1, "") + field(2, 13))


def large(layers, seed=1, width=2048):
    dims = [8, *[width] * (layers + 1), 2]
    last, nodes, shapes = "x", [], []
    for i in range(len(dims) - 1):
        output = "y" if i == len(dims) - 2 else f"y{i}"
        shapes.append((f"s{i}", dims[i:i + 2]))
        nodes.append(constant(f"s{i}", f"w{i}", 0x3a800000 + 256 * seed + i))
        nodes.append(node("MatMul", [last, f"w{i}"], output))
        last = output
    return model(nodes, shapes, 8, 2)


def slow(products, width=1024):
    nodes = [constant("s", "w0", 0x3a000000)]
    for i in range(products):
        nodes.append(node("MatMul", [f"w{i}", f"w{i}"], f"w{i + 1}"))
    nodes.append(node("MatMul", ["x", f"w{products}"], "y"))
    return model(nodes, [("s", [width, width])], width, width)


def hungry(rows, width=1 << 20):
    nodes = [constant("s", "w", 0x3a800000), node("MatMul", ["x", "w"], "h0")]
    for i in range(rows):
        nodes.append(node(("Sigmoid", "Tanh", "Exp")[i % 3], [f"h{i}"], f"h{i + 1}"))
    last = f"h{rows}"
    for i in range(rows):
        nodes.append(node("Add", [last, f"h{i}"], f"a{i}"))
        last = f"a{i}"
    nodes.append(node("ReduceMax", [last], "y") + field(5, text(1, "axes") + field(8, 1) +
                                                        field(20, 7)))
    return model(nodes, [("s", [1, width])], 1, 1)
