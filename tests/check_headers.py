#!/usr/bin/env python3
"""Compiles every header of the programs alone, with gcc and with clang. TAP.

A header that needs another one to be included before it fails here. The headers of bpf/ other
than the contract abi.h are code for the BPF machine, so clang compiles them for that; those of
models/ may hold kernels, so they are compiled for each ISA (the vector vocabulary, vec*.h, not for
the ISA "c", which has no vectors).
"""

import concurrent.futures
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("bpf", "sched", "models", "userspace", "tools")
WARN = ("-Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Werror").split()
CLANG = os.environ.get("BPF_CLANG", "clang-14")
HOST = ["-std=gnu11", "-O2", "-D_GNU_SOURCE"]
ISAS = {"c": ["-DFG_ISA=c", "-DFG_ISA_c=1"]}
if platform.machine() == "x86_64":
    ISAS["avx2"] = ["-DFG_ISA=avx2", "-DFG_ISA_avx2=1", "-mavx2", "-mfma", "-mf16c"]
COMPILERS = {
    "gcc": ["gcc", *HOST],
    "clang": [CLANG, *HOST],
    **{f"gcc {isa}": ["gcc", *HOST, *flags] for isa, flags in ISAS.items()},
    **{f"clang {isa}": [CLANG, *HOST, *flags] for isa, flags in ISAS.items()},
    "bpf": [CLANG, "-target", "bpf", "-mcpu=v3", "-O2",
            f"-I/usr/include/{platform.machine()}-linux-gnu"],
}


def compile_alone(compiler, source):
    """-> what the compiler complains of, one line each; none when it is content."""
    command = [*COMPILERS[compiler], *WARN, "-I.", "-fsyntax-only", "-x", "c", "-"]
    done = subprocess.run(command, cwd=ROOT, input=source, capture_output=True, text=True)
    return done.stderr.splitlines() if done.returncode or done.stderr else []


def compilers_for(header):
    if header.startswith("bpf/") and header != "bpf/abi.h":
        return ["bpf"]
    if header.startswith("models/"):
        vectors = header.startswith("models/vec")
        return [f"{compiler} {isa}" for compiler in ("gcc", "clang") for isa in ISAS
                if not (vectors and isa == "c")]
    return ["gcc", "clang"]


def check(header):
    # Twice, so that a missing include guard shows as well.
    source = f'#include "{header}"\n#include "{header}"\n'
    return [f"{compiler}: {line}" for compiler in compilers_for(header)
            for line in compile_alone(compiler, source)]


def main():
    count = failed = 0

    def result(name, problems):
        nonlocal count, failed
        count += 1
        failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {count} - {name}")
        for line in problems[:30]:
            print(f"# {line}")

    broken = compile_alone("gcc", "struct fg_error make_error(void);\nint f(undeclared x);\n")
    result("a header that misses an include is found", [] if broken else ["it compiled"])
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for folder in FOLDERS:
            headers = [str(p.relative_to(ROOT)) for p in sorted((ROOT / folder).rglob("*.h"))]
            problems = [line for found in pool.map(check, headers) for line in found]
            result(f"{len(headers)} headers of {folder}/ compile alone", problems)
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
