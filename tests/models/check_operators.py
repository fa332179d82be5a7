#!/usr/bin/env python3
"""Every operator against onnxruntime: random shapes, special values, all versions of the opset.

    BUILD=build build/venv/bin/python tests/models/check_operators.py [--seed N] [--only NAME]

Small models are made with onnx.helper, run by onnxruntime and by tests/models/run_plan.c (twice:
optimized with the fastest kernels, and plain with the C reference), and compared: a number may be
off by tolerance * (1 + |number|), where the tolerance is the one of its operator, 0 for those that
round once or only move data. NaN must be NaN and an infinity that infinity. Prints TAP, one test
for each operator, with the seed; a model that fails is kept in $BUILD/operators with its inputs.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

import operators_integers  # noqa: F401  each registers its checks
import operators_layers  # noqa: F401
import operators_math  # noqa: F401
import operators_ml  # noqa: F401
import operators_shapes  # noqa: F401
from operator_case import CHECKS, newest_opset

ROOT = Path(__file__).resolve().parents[2]


def compare(got, want, tolerance):
    """None, or what differs first."""
    with np.errstate(invalid="ignore", over="ignore"):
        fine = (
            (got == want)
            | (np.isnan(got) & np.isnan(want))
            | (np.isfinite(want) & (np.abs(got - want) <= tolerance * (1 + np.abs(want))))
        )
    if fine.all():
        return None
    row, col = np.argwhere(~fine)[0]
    return "row %d, column %d: got %r, want %r" % (
        row,
        col,
        float(got[row, col]),
        float(want[row, col]),
    )


def run_all(cases, folder, program):
    """What run_plan prints for each case; its outputs lie in `folder`."""
    lines = []
    for i, case in enumerate(cases):
        (folder / ("%d.onnx" % i)).write_bytes(case.model.SerializeToString())
        case.columns().tofile(folder / ("%d.in" % i))
        lines.append("%d.onnx %d.in %d %d.out" % (i, i, case.rows, i))
    done = subprocess.run(
        [program],
        input="\n".join(lines) + "\n",
        text=True,
        capture_output=True,
        cwd=folder,
        timeout=600,
    )
    said = done.stdout.splitlines()
    return said + ["failed run_plan ended with %d: %s" % (done.returncode, done.stderr[-300:])] * (
        len(cases) - len(said)
    )


def judge(case, said, path):
    """None, or why the case failed."""
    if not said.startswith("ok "):
        return said
    try:
        want = case.expected()
    except Exception as error:  # onnxruntime's exceptions have no common base
        return "onnxruntime refuses it: %s" % str(error)[:200]
    got = np.fromfile(path, np.float32).reshape(2, case.rows, -1)
    if got.shape[2] != want.shape[1]:
        return "%d columns, onnxruntime has %d" % (got.shape[2], want.shape[1])
    for i, name in enumerate(("optimized", "plain")):
        wrong = compare(got[i], want, case.tolerance)
        if wrong:
            return "%s: %s" % (name, wrong)
    return None


def keep(cases, name, wrong, folder, kept):
    """Copies the failed models and prints what is wrong with each."""
    kept.mkdir(parents=True, exist_ok=True)
    for i, text in wrong[:20]:
        for end in ("onnx", "in"):
            target = "%s-%d.%s" % (re.sub(r"\W+", "-", name), i, end)
            shutil.copy(folder / ("%d.%s" % (i, end)), kept / target)
        print("# %s: %s" % (cases[i].title, text))


def missing_operators(cases):
    """Those in the tables of models/ops_*.c that no case uses."""
    used = {(n.domain, n.op_type) for case in cases for n in case.model.graph.node}
    tables = "".join(path.read_text() for path in sorted(ROOT.glob("models/ops_*.c")))
    return sorted(set(re.findall(r'{"(|ai\.onnx\.ml)", "(\w+)", \d', tables)) - used)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=20240229)
    parser.add_argument("--only", help="a regular expression of names")
    options = parser.parse_args()
    build = Path(os.environ.get("BUILD", ROOT / "build")).resolve()
    start, kept = time.monotonic(), build / "operators"
    onnxruntime.set_default_logger_severity(4)
    shutil.rmtree(kept, ignore_errors=True)
    chosen = [(n, f) for n, f in CHECKS if not options.only or re.search(options.only, n)]
    cases, owner, failed = [], [], {}
    for name, function in chosen:
        # A generator of its own for each, so that --only gives the same models.
        made = list(function(np.random.default_rng([options.seed, *name.encode()])))
        cases += made
        owner += [name] * len(made)
    with tempfile.TemporaryDirectory(prefix="fg-operators-") as folder:
        folder = Path(folder)
        said = run_all(cases, folder, str(build / "tests/models/run_plan"))
        for i, case in enumerate(cases):
            wrong = judge(case, said[i], folder / ("%d.out" % i))
            if wrong:
                failed.setdefault(owner[i], []).append((i, wrong))
        for number, (name, _) in enumerate(chosen, 1):
            wrong, count = failed.get(name, []), owner.count(name)
            bad = wrong or not count
            print("%sok %d - %s (%d models)" % ("not " if bad else "", number, name, count))
            if wrong:
                keep(cases, name, wrong, folder, kept)
                again = (sys.argv[0], options.seed, name, kept)
                print("# again: %s --seed %d --only '^%s$'; models in %s" % again)
    missing = [] if options.only else missing_operators(cases)
    number = len(chosen) + 1
    print("%sok %d - no operator is left out %s" % ("not " if missing else "", number, missing))
    print("1..%d" % number)
    print("# %d models, opset 7 to %d" % (len(cases), newest_opset()), end=", ")
    print("onnxruntime %s, seed %d" % (onnxruntime.__version__, options.seed), end=", ")
    print("%.0f s" % (time.monotonic() - start))
    return 1 if failed or missing or set(owner) != {n for n, _ in chosen} else 0


if __name__ == "__main__":
    sys.exit(main())
