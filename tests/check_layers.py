#!/usr/bin/env python3
"""Holds every #include line to layers.txt, and the objects of pure folders to purity. TAP.

Environment: BUILD, the folder the objects lie in (default build).
"""

import fnmatch
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|(<[^>]+>))', re.MULTILINE)
# Letters of nm(1): symbols in writable data, of which purity allows none; not read-only ones.
WRITABLE = set("BbCDdGgSs")


def read_rules(text):
    """-> ({folder: [allowed includes]}, {folder: [allowed calls]})"""
    includes, calls = {}, {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        match = re.fullmatch(r"(calls\s+)?([\w/]+):\s*(.*)", line)
        if not match:
            sys.exit(f"layers.txt:{number}: not of the form 'folder: what it may include'")
        (calls if match[1] else includes)[match[2]] = match[3].split()
    return includes, calls


def allowed(included, entries):
    return any(fnmatch.fnmatchcase(included, entry) or
               (not included.startswith("<") and included.startswith(entry + "/"))
               for entry in entries)


def folder_of(path, folders):
    inside = [f for f in folders if path.startswith(f + "/")]
    return max(inside, key=len) if inside else None


def violations(path, text, rules):
    """Yields 'path:line: what is wrong' for every include that the rules do not allow."""
    folder = folder_of(path, rules)
    if folder is None:
        yield f"{path}:1: no folder of layers.txt holds it; add one"
        return
    for match in INCLUDE.finditer(text):
        included = match[1] or match[2]
        line = text.count("\n", 0, match.start()) + 1
        if not allowed(included, rules[folder]):
            yield f"{path}:{line}: {folder}/ may not include {included} (layers.txt)"
        elif match[1] and not included.endswith(".skel.h") and not (ROOT / included).is_file():
            yield f"{path}:{line}: no file {included}; includes start at the repository's root"


def impurities(folder, names):
    """Yields what the objects of a folder call or hold beside what its `calls` line allows."""
    objects = sorted((pathlib.Path(os.environ.get("BUILD", "build")) / "obj" / folder).glob("*.o"))
    if not objects:
        yield f"no objects of {folder}/ are built (BUILD={os.environ.get('BUILD', 'build')})"
    for path in objects:
        listing = subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout
        for *_, letter, name in (line.split() for line in listing.splitlines()):
            if letter in WRITABLE:
                yield f"{path}: {name} is data that can change"
            elif letter == "U" and not allowed(name, names + ["_GLOBAL_OFFSET_TABLE_"]):
                yield f"{path}: calls {name}"


class Tap:
    def __init__(self):
        self.count = self.failed = 0

    def result(self, name, problems):
        self.count += 1
        self.failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {self.count} - {name}")
        for problem in problems:
            print(f"# {problem}")


def rule_is_enforced(rules):
    """The check must be able to fail: an include that every layering forbids."""
    sample = '#include "tools/client.h"\n'
    return [] if list(violations("sched/sample.c", sample, rules)) else ["sched -> tools passed"]


def main():
    rules, calls = read_rules((ROOT / "layers.txt").read_text())
    tap = Tap()
    tap.result("a forbidden include is found", rule_is_enforced(rules))
    for top in sorted({folder.split("/")[0] for folder in rules}):
        files = [p for pattern in ("*.c", "*.h") for p in sorted((ROOT / top).rglob(pattern))]
        problems = [problem for path in files
                    for problem in violations(str(path.relative_to(ROOT)), path.read_text(), rules)]
        tap.result(f"{top}/ includes only what layers.txt allows ({len(files)} files)", problems)
    for folder, names in calls.items():
        tap.result(f"{folder}/ is pure", list(impurities(folder, names)))
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
