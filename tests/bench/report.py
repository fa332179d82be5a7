"""The form of every benchmark's result: build/bench/NAME.json and a table to read.

A row is {metric, value, unit, reference, ratio, aim, met}: value and reference in the same unit,
ratio = value / reference, aim the largest ratio (or value, where there is no reference) that
counts as met. Times mean little on a shared machine; ratios inside one run mean something.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
import harness  # noqa: E402  (the path above)

FOLDER = os.path.join(harness.BUILD, "bench")


def row(metric, value, unit, reference=None, aim=None):
    ratio = value / reference if reference else None
    judged = value if ratio is None else ratio
    return {"metric": metric, "value": round(value, 3), "unit": unit,
            "reference": None if reference is None else round(reference, 3),
            "ratio": None if ratio is None else round(ratio, 3), "aim": aim,
            "met": None if aim is None else judged <= aim}


def text(value):
    return "-" if value is None else f"{value:,.3f}" if isinstance(value, float) else str(value)


def write(name, rows):
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, f"{name}.json"), "w") as file:
        json.dump(rows, file, indent=1)
    width = max(len(one["metric"]) for one in rows)
    print(f"{'':{width}} {'value':>12} {'unit':<7} {'reference':>10} {'ratio':>8} {'aim':>7}")
    for one in rows:
        met = {True: "met", False: "MISSED", None: ""}[one["met"]]
        print(f"{one['metric']:<{width}} {text(one['value']):>12} {one['unit']:<7} "
              f"{text(one['reference']):>10} {text(one['ratio']):>8} {text(one['aim']):>7} {met}")
    print(f"written to {os.path.relpath(FOLDER)}/{name}.json", flush=True)
