#!/usr/bin/env python3
"""Makes tests/data/torch: models as PyTorch's two exporters write them.

    python3 -m venv /tmp/torch && . /tmp/torch/bin/activate
    pip install torch==2.15.0 onnxscript==0.7.2 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
    python3 tests/models/make_torch.py [CASE ...]   # torch from PyPI brings CUDA along, unused

NAME_script_OPSET is written by torch.onnx.export(dynamo=False), NAME_dynamo_OPSET by
torch.onnx.export(dynamo=True), which keeps the larger weights in model.onnx.data; without an OPSET
it is the exporter's default. Each case is a function of its own; its docstring says what it shows.
"""

import dataclasses
import logging
import sys
import warnings

import torch
import torch.nn.functional as F
from torch import nn

import fixtures

TITLE = ("PyTorch models as its two exporters write them: NAME_script by torch.onnx.export("
         "dynamo=False), NAME_dynamo by torch.onnx.export(dynamo=True), which keeps larger weights "
         "in model.onnx.data")
PACKAGES = ["torch", "onnxscript", "onnx", "onnxruntime", "numpy"]
ROWS = 12
TRACED_ROWS = 3  # of the example that the exporters trace
DEFAULT = 0      # the exporter's own opset
CASES = []


@dataclasses.dataclass
class Case:
    function: object      # returns the module and its inputs, (ROWS, ...) each
    script: tuple = ()    # opsets that the old exporter writes
    dynamo: tuple = ()    # opsets that the new one writes
    fixed_batch: int = 0  # > 0: the batch is frozen to that many rows
    folded: bool = True   # the old exporter folds constant expressions


def make_with(**settings):
    """The function below is a case, with these settings of class Case."""
    def register(function):
        CASES.append(Case(function, **settings))
        return function
    return register


def floats(*columns):
    return torch.randn(ROWS, *columns)


def ids(entries, *columns):
    return torch.randint(0, entries, (ROWS, *columns))


class Function(nn.Module):
    """A forward() that is a plain function of its inputs."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = forward

    def forward(self, *inputs):
        return self.function(self, *inputs)


class Branches(nn.Module):
    """Linear layers side by side, each with an activation of its own."""

    def __init__(self, *activations):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(nn.Linear(5, 4), a) for a in activations)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], dim=1)


# ---- activations ---------------------------------------------------------------------------


@make_with(script=(7, 13), dynamo=(DEFAULT, 23, 25))
def mlp():
    """Linear, ReLU, Linear."""
    return nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, 5)), floats(9)


@make_with(script=(13,), dynamo=(DEFAULT,))
def kinked():
    """Activations made of two branches."""
    prelu = nn.PReLU(4)
    prelu.weight.data = torch.tensor([0.1, -0.2, 0.3, 1.5])
    return Branches(nn.ReLU(), nn.LeakyReLU(0.2), nn.PReLU(), prelu, nn.ELU(0.7), nn.SELU(),
                    nn.CELU(1.3), nn.ReLU6(), nn.Hardtanh(-0.5, 0.8)), floats(5)


@make_with(script=(17,), dynamo=(DEFAULT,))
def smooth():
    """Activations made of exp, tanh and log; inputs large enough to saturate them."""
    return Branches(nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Softsign(),
                    nn.LogSigmoid(), nn.Softplus(beta=2.0)), 4 * floats(5)


@make_with(script=(14, 23), dynamo=(DEFAULT,))
def hard():
    """The hard relatives; the old exporter has HardSwish from opset 14."""
    return Branches(nn.Hardswish(), nn.Hardsigmoid(), nn.GLU()), 3 * floats(5)


@make_with(script=(9, 20), dynamo=(18, DEFAULT))
def gelu():
    """Gelu: Div, Erf, Add, Mul, Mul below opset 20, one operator from there."""
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 8), nn.GELU("tanh"),
                         nn.Linear(8, 3)), floats(6)


# ---- normalisation -------------------------------------------------------------------------


def trained_batch_norm(columns):
    """BatchNorm1d with statistics and parameters that are not 0 and 1."""
    norm = nn.BatchNorm1d(columns)
    norm.running_mean = torch.randn(columns)
    norm.running_var = torch.rand(columns) + 0.5
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    return norm


@make_with(script=(9, 17), dynamo=(DEFAULT,))
def batch_norm():
    """BatchNorm1d in front of, between and behind the layers."""
    return nn.Sequential(trained_batch_norm(6), nn.Linear(6, 10), trained_batch_norm(10), nn.ReLU(),
                         nn.Linear(10, 10), nn.ReLU(), trained_batch_norm(10), nn.Linear(10, 3),
                         trained_batch_norm(3)), floats(6)


@make_with(script=(13, 17), dynamo=(DEFAULT,))
def layer_norm():
    """LayerNorm: ReduceMean, Sub, Pow, ... below opset 17, one operator from there."""
    first, second = nn.LayerNorm(10), nn.LayerNorm(10, eps=1e-3, elementwise_affine=False)
    nn.init.normal_(first.weight)
    nn.init.normal_(first.bias)
    return nn.Sequential(nn.Linear(6, 10), first, nn.GELU(), nn.Linear(10, 10), second,
                         nn.Linear(10, 3)), floats(6)


@make_with(script=(17,), dynamo=(DEFAULT,))
def layer_norm_2d():
    """LayerNorm over the last two dimensions of (n, 4, 6)."""
    norm = nn.LayerNorm((4, 6))
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return nn.Sequential(norm, nn.Flatten(), nn.Linear(24, 3)), floats(4, 6)


@make_with(dynamo=(DEFAULT,))
def rms_norm():
    """RMSNorm, which is Pow, ReduceMean, Sqrt, ... below opset 23."""
    norm = nn.RMSNorm(8)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    return nn.Sequential(nn.Linear(5, 8), norm, nn.Linear(8, 3)), floats(5)


@make_with(script=(17,), dynamo=(DEFAULT,))
def normalized_input():
    """The model brings its own (x - mean) / std, and a value for what is missing (NaN)."""
    def forward(self, x):
        x = torch.where(torch.isnan(x), self.fill, x)
        return self.layers((x - self.mean) / self.std)
    module = Function(forward, layers=nn.Sequential(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 2)))
    module.register_buffer("fill", torch.randn(7))
    module.register_buffer("mean", torch.randn(7))
    module.register_buffer("std", torch.rand(7) + 0.5)
    x = floats(7)
    x[torch.rand(ROWS, 7) < 0.2] = torch.nan
    return module, x


# ---- blocks --------------------------------------------------------------------------------


@make_with(script=(17,), dynamo=(DEFAULT,))
def residual():
    """Pre-norm residual blocks in a ModuleList."""
    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)
    blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 24), nn.GELU(),
                                         nn.Linear(24, 12)) for _ in range(2))
    return Function(forward, stem=nn.Linear(6, 12), blocks=blocks,
                    head=nn.Linear(12, 3)), floats(6)


@make_with(script=(13,), dynamo=(DEFAULT,))
def residual_batch_norm():
    """Post-activation residual blocks with BatchNorm1d and Dropout, a matrix on one shortcut."""
    def forward(self, x):
        x = F.relu(self.narrow(x) + self.shortcut(x))
        return self.head(F.relu(self.wide(x) + x))
    def branch(inputs, outputs):
        return nn.Sequential(nn.Linear(inputs, 10), trained_batch_norm(10), nn.ReLU(),
                             nn.Dropout(0.3), nn.Linear(10, outputs), trained_batch_norm(outputs))
    return Function(forward, narrow=branch(6, 8), wide=branch(8, 8), head=nn.Linear(8, 2),
                    shortcut=nn.Linear(6, 8, bias=False)), floats(6)


@make_with(script=(17,), dynamo=(DEFAULT,))
def highway():
    """Highway layers: t * h + (1 - t) * x."""
    def forward(self, x):
        for gate, hidden in zip(self.gates, self.hiddens):
            t = torch.sigmoid(gate(x))
            x = t * torch.tanh(hidden(x)) + (1 - t) * x
        return x
    return Function(forward, gates=nn.ModuleList(nn.Linear(7, 7) for _ in range(2)),
                    hiddens=nn.ModuleList(nn.Linear(7, 7) for _ in range(2))), floats(7)


@make_with(script=(17,), dynamo=(DEFAULT,))
def mixture_of_experts():
    """A softmax over experts weighs their stacked answers: two inner dimensions, one is summed."""
    def forward(self, x):
        answers = torch.stack([F.relu(expert(x)) for expert in self.experts], dim=1)
        weights = F.softmax(self.gate(x), dim=1).unsqueeze(-1)
        return self.head((weights * answers).sum(dim=1))
    return Function(forward, experts=nn.ModuleList(nn.Linear(6, 8) for _ in range(3)),
                    gate=nn.Linear(6, 3), head=nn.Linear(8, 2)), floats(6)


@make_with(script=(17,), dynamo=(DEFAULT,))
def attention():
    """Self-attention among the four tokens of a row (AutoInt): both factors of MatMul are data."""
    def forward(self, x):
        query, key, value = self.projections(x).chunk(3, dim=-1)
        weights = F.softmax(query @ key.transpose(1, 2) / 6 ** 0.5, dim=-1)
        return self.head((weights @ value).flatten(1))
    return Function(forward, projections=nn.Linear(5, 18), head=nn.Linear(24, 2)), floats(4, 5)


@make_with(script=(17,), dynamo=(DEFAULT,))
def mlp_of_tokens():
    """Linear layers along the last of three dimensions."""
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 2),
                         nn.Flatten()), floats(3, 5)


# ---- several inputs and outputs ------------------------------------------------------------


@make_with(script=(13, 17), dynamo=(DEFAULT,))
def wide_and_deep():
    """Integer ids through an embedding, next to numbers; a linear part beside the deep one."""
    def forward(self, numbers, category):
        both = torch.cat([numbers, self.embedding(category)], dim=1)
        return torch.sigmoid(self.wide(numbers) + self.deep(both))
    deep = nn.Sequential(nn.Linear(5 + 4, 16), nn.ReLU(), nn.Linear(16, 1))
    return Function(forward, embedding=nn.Embedding(11, 4), wide=nn.Linear(5, 1),
                    deep=deep), floats(5), ids(11)


@make_with(script=(17,), dynamo=(DEFAULT,))
def embedding_fields():
    """Several id columns in one table with an offset each, then flattened (DLRM and relatives)."""
    def forward(self, fields):
        return self.head(self.embedding(fields + self.offsets).flatten(1))
    module = Function(forward, embedding=nn.Embedding(5 + 7 + 3, 4), head=nn.Linear(12, 2))
    module.register_buffer("offsets", torch.tensor([0, 5, 12]))
    return module, torch.stack([ids(5), ids(7), ids(3)], dim=1)


@make_with(script=(17,), dynamo=(DEFAULT,))
def embedding_of_floats():
    """One input of floats, some of whose columns are ids: x[:, 0].long() picks a row."""
    def forward(self, x):
        picked = self.embedding(x[:, 0].long()) + self.other(x[:, 1].to(torch.int32))
        return self.head(torch.cat([picked, x[:, 2:]], dim=-1))
    x = torch.cat([ids(6).float()[:, None], ids(9).float()[:, None], floats(4)], dim=1)
    return Function(forward, embedding=nn.Embedding(6, 5), other=nn.Embedding(9, 5),
                    head=nn.Linear(9, 3)), x


@make_with(script=(17,), dynamo=(DEFAULT,))
def factorization_machine():
    """DeepFM's pairs: half of (sum of embeddings) squared less the sum of their squares."""
    def forward(self, fields):
        vectors = self.embedding(fields)
        pairs = 0.5 * (vectors.sum(dim=1).pow(2) - vectors.pow(2).sum(dim=1)).sum(1, keepdim=True)
        first = self.first(fields).squeeze(-1).sum(dim=1, keepdim=True)
        return torch.sigmoid(first + pairs + self.deep(vectors.reshape(-1, 3 * 4)))
    return Function(forward, embedding=nn.Embedding(10, 4), first=nn.Embedding(10, 1),
                    deep=nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 1))), ids(10, 3)


@make_with(script=(17,), dynamo=(DEFAULT,))
def cross_network():
    """Deep & cross (v2): x0 * (W x + b) + x, beside a deep part."""
    def forward(self, x0):
        x = x0
        for layer in self.cross:
            x = x0 * layer(x) + x
        return self.head(torch.cat((x, self.deep(x0)), dim=1)).squeeze(1)
    return Function(forward, cross=nn.ModuleList(nn.Linear(8, 8) for _ in range(2)),
                    deep=nn.Sequential(nn.Linear(8, 6), nn.ReLU()),
                    head=nn.Linear(14, 1)), floats(8)


@make_with(script=(17,), dynamo=(DEFAULT,))
def two_towers():
    """Cosine similarity of two normalised towers: F.normalize, product, sum over the features."""
    def forward(self, query, item):
        return (F.normalize(self.query(query)) * F.normalize(self.item(item))).sum(dim=-1)
    return Function(forward, query=nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)),
                    item=nn.Linear(4, 5)), floats(6), floats(4)


@make_with(script=(13,), dynamo=(DEFAULT,))
def two_heads():
    """A policy and a value over one trunk: two outputs."""
    def forward(self, x):
        x = self.trunk(x)
        return F.softmax(self.policy(x), dim=-1), torch.tanh(self.value(x))
    return Function(forward, trunk=nn.Sequential(nn.Linear(6, 12), nn.ReLU()),
                    policy=nn.Linear(12, 4), value=nn.Linear(12, 1)), floats(6)


@make_with(script=(17,), dynamo=(DEFAULT,))
def hidden_too():
    """An inner value is an output as well, and so is the predicted class (int64)."""
    def forward(self, x):
        hidden = F.relu(self.first(x))
        logits = self.second(hidden)
        return logits, hidden, logits.argmax(dim=1)
    return Function(forward, first=nn.Linear(6, 9), second=nn.Linear(9, 4)), floats(6)


@make_with(script=(17,), dynamo=(DEFAULT,))
def actor():
    """A Gaussian policy's head: mean and standard deviation are the halves of one layer."""
    def forward(self, x):
        mean, log_std = self.layers(x).chunk(2, dim=-1)
        return torch.tanh(mean), log_std.clamp(-2.0, 0.5).exp()
    return Function(forward, layers=nn.Sequential(nn.Linear(6, 8), nn.ELU(),
                                                  nn.Linear(8, 6))), 2 * floats(6)


# ---- shapes --------------------------------------------------------------------------------


@make_with(script=(9, 13, 17), dynamo=(DEFAULT,))
def view():
    """x.view(x.size(0), -1): Shape, Gather, Unsqueeze, Concat, Reshape in the old exporter."""
    def forward(self, x):
        return self.head(F.relu(self.body(x.view(x.size(0), -1))))
    return Function(forward, body=nn.Linear(24, 8), head=nn.Linear(8, 2)), floats(2, 3, 4)


@make_with(script=(13,), dynamo=(DEFAULT,))
def flatten():
    """nn.Flatten of images (n, 1, 5, 5)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(25, 8), nn.ReLU(), nn.Linear(8, 4),
                         nn.LogSoftmax(dim=1)), floats(1, 5, 5)


@make_with(script=(17,), dynamo=(DEFAULT,), fixed_batch=1)
def fixed_batch():
    """No dynamic axes: the batch is frozen to one row."""
    def forward(self, x):
        return self.layers(x.view(x.size(0), -1))
    return Function(forward, layers=nn.Sequential(nn.Linear(8, 6), nn.ReLU(),
                                                  nn.Linear(6, 2))), floats(2, 4)


@make_with(script=(17,), dynamo=(DEFAULT,), fixed_batch=4)
def fixed_batch_4():
    """The batch is frozen to four rows, and four is written into Reshape."""
    def forward(self, x):
        return self.layers(x.reshape(x.shape[0], 8))
    return Function(forward, layers=nn.Sequential(nn.Linear(8, 6), nn.ReLU(),
                                                  nn.Linear(6, 2))), floats(2, 4)


@make_with(script=(13,), dynamo=(DEFAULT,))
def pieces():
    """cat, chunk, split, slices (one with a step, one from the end), a single column."""
    def forward(self, x):
        a, b = self.first(x).chunk(2, dim=1)
        c, d, e = torch.split(a * torch.sigmoid(b), [3, 1, 4], dim=1)
        x = torch.cat([e, c, d, x[:, 1:5:2], x[:, -2:], x[:, 3].unsqueeze(1)], dim=1)
        return self.second(x)
    return Function(forward, first=nn.Linear(6, 16), second=nn.Linear(13, 3)), floats(6)


@make_with(script=(13,), dynamo=(DEFAULT,))
def permute():
    """Layers along either of two inner dimensions, as an MLP-Mixer has them."""
    def forward(self, x):
        x = x + self.tokens(x.transpose(1, 2)).permute(0, 2, 1)
        x = x + self.channels(x)
        return self.head(x.mean(dim=1))
    return Function(forward, tokens=nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 4)),
                    channels=nn.Linear(5, 5), head=nn.Linear(5, 2)), floats(4, 5)


@make_with(script=(17,), dynamo=(DEFAULT,))
def unflatten():
    """Columns regrouped to (n, 3, 4), a softmax within each group (a factored action space)."""
    def forward(self, x):
        return F.softmax(self.layer(x).view(-1, 3, 4), dim=2).flatten(1)
    return Function(forward, layer=nn.Linear(6, 12)), floats(6)


@make_with(script=(17,), dynamo=(DEFAULT,))
def scalar_output():
    """squeeze(-1): the output has the batch as its only dimension."""
    def forward(self, x):
        return self.layers(x).squeeze(-1)
    return Function(forward, layers=nn.Sequential(nn.Linear(6, 8), nn.Softplus(),
                                                  nn.Linear(8, 1))), floats(6)


# ---- arithmetic ----------------------------------------------------------------------------


@make_with(script=(17,), dynamo=(DEFAULT,))
def where_and_clamp():
    """Comparisons, where, clamp with one or two bounds, minimum and maximum."""
    def forward(self, x):
        a, b = self.layer(x).split(4, dim=1)
        return torch.cat([torch.where(a > b, a, -b), torch.where(a <= 0.1, a * 2, b),
                          a.clamp(-0.3, 0.4), b.clamp(min=0.1), a.clamp(max=0.2),
                          torch.minimum(a, b), torch.maximum(a, b),
                          torch.where((a < 0) & (b >= 0), a, torch.zeros_like(a))], dim=1)
    return Function(forward, layer=nn.Linear(6, 8)), floats(6)


@make_with(script=(17,), dynamo=(DEFAULT,))
def arithmetic():
    """exp, log, sqrt, pow, abs, reciprocals, and constants on either side."""
    def forward(self, x):
        y = self.layer(x)
        z = y.abs() + 0.1
        return torch.cat([torch.exp(-z), torch.log(z), torch.sqrt(z), z.pow(1.7), y ** 2, y ** 3,
                          1 / z, z.rsqrt(), 2 - y, -y, y / 3, torch.erf(y), z.log1p()], dim=1)
    return Function(forward, layer=nn.Linear(6, 4)), floats(6)


@make_with(script=(9, 13, 18), dynamo=(DEFAULT,))
def reductions():
    """mean, sum, amax, amin, norm over the features; axes move to an input with the opsets."""
    def forward(self, x):
        y = self.layer(x).view(-1, 3, 4)
        return torch.cat([y.mean(dim=2), y.sum(dim=1), y.amax(dim=2), y.amin(dim=1),
                          y.norm(dim=2), y.mean(dim=(1, 2), keepdim=True).flatten(1),
                          x.sum(dim=1, keepdim=True)], dim=1)
    return Function(forward, layer=nn.Linear(6, 12)), floats(6)


@make_with(script=(13,), dynamo=(DEFAULT,))
def log_softmax():
    """log_softmax and softmax, in the middle and at the end."""
    def forward(self, x):
        attention = F.softmax(self.attention(x), dim=1)
        return F.log_softmax(self.head(attention * x), dim=-1)
    return Function(forward, attention=nn.Linear(6, 6), head=nn.Linear(6, 4)), 3 * floats(6)


@make_with(script=(17,), dynamo=(DEFAULT,))
def float64():
    """A layer in double precision between casts."""
    def forward(self, x):
        return self.last(torch.relu(self.double_layer(x.double())).float())
    return Function(forward, double_layer=nn.Linear(6, 8).double(), last=nn.Linear(8, 3)), floats(6)


@make_with(script=(17,), dynamo=(DEFAULT,), folded=False)
def half_weights():
    """Weights stored as float16 and turned into float32 by the model."""
    def forward(self, x):
        x = F.relu(F.linear(x, self.weight.float(), self.bias.float()))
        return self.head(x)
    return Function(forward, weight=nn.Parameter(torch.randn(8, 6).half()),
                    bias=nn.Parameter(torch.randn(8).half()), head=nn.Linear(8, 3)), floats(6)


@make_with(script=(17,), dynamo=(DEFAULT,), folded=False)
def weight_norm():
    """weight_norm: the weights are computed from constants, and the exporter may leave that in."""
    norm = torch.nn.utils.parametrizations.weight_norm
    return nn.Sequential(norm(nn.Linear(6, 8)), nn.ReLU(), norm(nn.Linear(8, 3))), floats(6)


@make_with(script=(17,), dynamo=(DEFAULT,))
def matmul():
    """x @ w + b with a plain parameter, its transposition, and one matrix used twice."""
    def forward(self, x):
        code = torch.tanh(x @ self.weight + self.bias)
        return code @ self.weight.t() + x.matmul(self.skew)
    return Function(forward, weight=nn.Parameter(torch.randn(6, 4)),
                    bias=nn.Parameter(torch.randn(4)),
                    skew=nn.Parameter(torch.randn(6, 6))), floats(6)


# ---- export --------------------------------------------------------------------------------


def names(count, word):
    return [word] if count == 1 else [f"{word}_{i}" for i in range(count)]


def export_script(case, module, example, path, opset, inputs, outputs):
    axes = None if case.fixed_batch else {name: {0: "batch"} for name in inputs + outputs}
    torch.onnx.export(module, example, str(path), dynamo=False, opset_version=opset or None,
                      input_names=inputs, output_names=outputs, dynamic_axes=axes,
                      do_constant_folding=case.folded)


def export_dynamo(case, module, example, path, opset, inputs, outputs):
    shapes = None
    if not case.fixed_batch:
        shapes = tuple({0: torch.export.Dim("batch")} for _ in example)
        # As the signature has them: forward(*inputs) has one argument.
        shapes = (shapes,) if isinstance(module, Function) else shapes
    torch.onnx.export(module, example, str(path), dynamo=True, opset_version=opset or None,
                      input_names=inputs, output_names=outputs, dynamic_shapes=shapes,
                      verbose=False)


def make(case, export, suffix, opset):
    name = case.function.__name__
    torch.manual_seed(fixtures.seed(name))
    module, *rows = case.function()
    module.eval()
    with torch.no_grad():
        expected = module(*rows)
    expected = list(expected) if isinstance(expected, tuple) else [expected]
    inputs, outputs = names(len(rows), "input"), names(len(expected), "output")
    folder = fixtures.empty_folder("torch", f"{name}_{suffix}" + (f"_{opset}" if opset else ""))
    path = folder / "model.onnx"
    example = tuple(r[:case.fixed_batch or TRACED_ROWS] for r in rows)
    export(case, module, example, path, opset, inputs, outputs)
    data = folder / fixtures.EXTERNAL_DATA_FILE
    if data.exists() and not data.stat().st_size:
        data.unlink()  # written, but no tensor refers to it
    fixtures.strip_traces(path)
    return fixtures.finish(folder, case.function.__doc__,
                           dict(zip(inputs, (r.numpy() for r in rows))),
                           [e.numpy() for e in expected])


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    lines = []
    for case in CASES:
        if len(sys.argv) > 1 and case.function.__name__ not in sys.argv[1:]:
            continue
        lines += [make(case, export_script, "script", opset) for opset in case.script]
        lines += [make(case, export_dynamo, "dynamo", opset) for opset in case.dynamo]
    if len(sys.argv) == 1:
        fixtures.write_readme("torch", TITLE, "make_torch.py", PACKAGES, lines)


if __name__ == "__main__":
    main()
