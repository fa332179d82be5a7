#!/bin/bash
# Builds the programs and the tests with clang, warnings as errors. TAP.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

unset MAKEFLAGS MFLAGS MAKELEVEL # this build has settings of its own
if output=$(make -s --no-print-directory -j"$(nproc)" CC=clang-14 BUILD="${BUILD:-build}/clang" \
	all test-programs 2>&1); then
	echo "ok 1 - clang builds everything without a warning"
	status=0
else
	echo "not ok 1 - clang does not build everything"
	grep -E 'error|warning|undefined|\*\*\*' <<<"$output" | head -n 30 | sed 's/^/# /'
	status=1
fi
echo 1..1
exit $status
