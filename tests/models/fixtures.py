"""What the scripts of this folder share: turning a model file into a test case.

A case is a folder: model.onnx (and model.onnx.data), inputs.npy (rows, columns) f32 with all
inputs of the model side by side in the order of its graph, expected.npy (rows, columns) f32 with
all its outputs side by side. Numbers of other types become f32; a label that is a text becomes
its index among the classes. What is expected is onnxruntime's answer, and it must agree with the
answer of the framework that the model comes from.
"""

import pathlib
import sys
import textwrap
import zlib
from importlib import metadata

import numpy
import onnx
import onnxruntime

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
MAX_BYTES = 30_000  # of a case; they are committed
TRACES = ("pkg.torch.onnx.stack_trace", "pkg.torch.onnx.fx_node")
HEAD = "| case | about | opset | inputs | outputs | operators |"
EXTERNAL_DATA_FILE = "model.onnx.data"


def seed(name):
    """The same number for the same name, whatever else is made before."""
    return zlib.crc32(name.encode())


def empty_folder(framework, name):
    """The case's folder, without what an earlier run left: exporters append to a data file that
    is there."""
    folder = DATA / framework / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    return folder


def strip_traces(path):
    """Removes what torch notes at each node for debuggers: it is long, and the stack traces name
    the files of one machine. Everything else stays as the exporter wrote it."""
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        kept = [p for p in node.metadata_props if p.key not in TRACES]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)
    for place in (sys.prefix, str(DATA.parent)):
        assert place.encode() not in path.read_bytes(), f"{path} names {place}"


def columns(answer, classes=None):
    """One output of onnxruntime, (rows, ...), as f32 (rows, columns)."""
    if isinstance(answer, list):  # ZipMap: one {class: score} for each row
        answer = numpy.array([[row[c] for c in row] for row in answer])
    if answer.dtype.kind in "OUS":
        answer = numpy.array([list(classes).index(text) for text in answer.ravel()])
    return answer.reshape(len(answer), -1).astype(numpy.float32)


def answers(path, feeds):
    """All outputs for all rows; a model whose batch is frozen is given that many rows at a time."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    assert names == list(feeds), f"{path}: inputs {names}, given {list(feeds)}"
    rows = len(next(iter(feeds.values())))
    batch = session.get_inputs()[0].shape[0]
    if not isinstance(batch, int):
        return session.run(None, feeds)
    parts = [session.run(None, {name: rows_of[at:at + batch] for name, rows_of in feeds.items()})
             for at in range(0, rows, batch)]
    return [numpy.concatenate(part) for part in zip(*parts)]


def finish(folder, about, feeds, expected, classes=None, tolerance=1e-4):
    """Writes inputs.npy and expected.npy next to model.onnx; returns the case's line of README.md.

    about: what the case shows. feeds: input name -> (rows, ...), in the order of the graph.
    expected: for each output, in order, the framework's answer (rows, ...), or None where it has
    no such thing.
    """
    path = folder / "model.onnx"
    outputs = [columns(answer, classes) for answer in answers(path, feeds)]
    assert len(outputs) == len(expected), f"{folder.name}: {len(outputs)} outputs"
    for output, wanted in zip(outputs, expected):
        if wanted is not None:
            numpy.testing.assert_allclose(output, columns(numpy.asarray(wanted), classes),
                                          rtol=tolerance, atol=tolerance, err_msg=folder.name)
    inputs = numpy.hstack([columns(rows) for rows in feeds.values()])
    numpy.save(folder / "inputs.npy", inputs)
    numpy.save(folder / "expected.npy", numpy.hstack(outputs))
    total = sum(file.stat().st_size for file in folder.iterdir())
    assert 5 <= len(inputs) <= 40 and total <= MAX_BYTES, f"{folder.name}: {total} bytes"
    return describe(path, about, inputs.shape[1], numpy.hstack(outputs).shape[1])


def describe(path, about, inputs, outputs):
    model = onnx.load(path, load_external_data=False)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    operators = " ".join(sorted({node.op_type for node in model.graph.node}))
    about = " ".join(about.rstrip(".").split())
    return f"| {path.parent.name} | {about} | {opset} | {inputs} | {outputs} | {operators} |"


def write_readme(framework, title, script, packages, lines, head=HEAD):
    """README.md of the folder: what made it, with which versions, and a line for each case."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    text = f"{title}. Made by `tests/models/{script}` with {versions}."
    text = textwrap.fill(text, 100, break_on_hyphens=False)
    rule = "|---" * (head.count("|") - 1) + "|"
    (DATA / framework / "README.md").write_text(
        "\n".join([f"# {framework}", "", text, "", head, rule, *lines]) + "\n")
