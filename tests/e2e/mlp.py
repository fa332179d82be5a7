"""Multilayer perceptrons as ONNX files, without the onnx package: what tests and benchmarks serve.

write(folder, sizes, seed) makes folder/model.onnx, a chain of Gemm and Relu with a Sigmoid at its end.
answers(sizes, seed, rows) is what it computes, summed in double precision.
"""

import array
import math
import os
import random

BLOCK = 1 << 16  # weights repeat after that many: a large model is made in no time


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, data):
    """A length-delimited field, or a varint for an int."""
    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    return varint(number << 3 | 2) + varint(len(data)) + data


def text(number, value):
    return field(number, value.encode())


def tensor(name, dims, data):
    """TensorProto: FLOAT, raw_data."""
    return (b"".join(field(1, dim) for dim in dims) + field(2, 1) + text(8, name) +
            field(9, data))


def node(kind, inputs, output):
    return (b"".join(text(1, name) for name in inputs) + text(2, output) + text(4, kind))


def port(name, cols):
    """ValueInfoProto: FLOAT, ("N", cols)."""
    shape = field(1, text(2, "N")) + field(1, field(1, cols))
    return text(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def weights(sizes, layer, seed):
    """(inputs, outputs) and (outputs), as array('f')."""
    rows, cols = sizes[layer], sizes[layer + 1]
    numbers = random.Random(f"{seed}/{layer}")
    scale = 1.6 / math.sqrt(rows)
    block = array.array("f", (numbers.uniform(-scale, scale)
                              for _ in range(min(rows * cols, BLOCK))))
    whole, rest = divmod(rows * cols, len(block))
    matrix = block * whole + block[:rest]
    return matrix, array.array("f", (numbers.uniform(-0.2, 0.2) for _ in range(cols)))


def onnx(sizes, seed):
    nodes, tensors, last = [], [], "x"
    for layer in range(len(sizes) - 1):
        matrix, bias = weights(sizes, layer, seed)
        tensors += [tensor(f"w{layer}", sizes[layer:layer + 2], matrix.tobytes()),
                    tensor(f"b{layer}", sizes[layer + 1:layer + 2], bias.tobytes())]
        nodes.append(node("Gemm", [last, f"w{layer}", f"b{layer}"], f"g{layer}"))
        final = layer == len(sizes) - 2
        last = "y" if final else f"r{layer}"
        nodes.append(node("Sigmoid" if final else "Relu", [f"g{layer}"], last))
    graph = (b"".join(field(1, one) for one in nodes) + text(2, "mlp") +
             b"".join(field(5, one) for one in tensors) + field(11, port("x", sizes[0])) +
             field(12, port("y", sizes[-1])))
    return field(1, 8) + field(7, graph) + field(8, field(2, 17))


def write(folder, sizes, seed):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "model.onnx"), "wb") as file:
        file.write(onnx(sizes, seed))
    return folder


def answers(sizes, seed, rows):
    layers = [weights(sizes, layer, seed) for layer in range(len(sizes) - 1)]
    results = []
    for row in rows:
        for number, (matrix, bias) in enumerate(layers):
            cols = sizes[number + 1]
            sums = [bias[col] + sum(value * matrix[at * cols + col]
                                    for at, value in enumerate(row) if value)
                    for col in range(cols)]
            row = ([1 / (1 + math.exp(-value)) for value in sums] if number == len(layers) - 1
                   else [max(0.0, value) for value in sums])
        results.append(array.array("f", row))
    return results


def inputs(cols, count, seed=7):
    numbers = random.Random(seed)
    return [array.array("f", (numbers.uniform(-1, 1) for _ in range(cols)))
            for _ in range(count)]


def write_npy(path, rows):
    """Rows of float32 as a numpy file."""
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (len(rows),
                                                                              len(rows[0]))
    head += " " * (-(10 + len(head) + 1) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode())
        for row in rows:
            file.write(row.tobytes())
    return path
