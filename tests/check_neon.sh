#!/bin/bash
# The kernels of aarch64, compiled here and run by qemu: the kernel tests with the ISAs "neon" and
# "c". TAP. Environment: BUILD, the folder to build in (default build).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

OUT=${BUILD:-build}/aarch64
TESTS=(dense weights kernels activation rows)

mkdir -p "$OUT" || exit 1
if ! make --no-print-directory -s -f tests/aarch64/Makefile OUT="$OUT" \
	TESTS="${TESTS[*]}" >"$OUT/make.log" 2>&1; then
	echo "not ok 1 - compiles for aarch64"
	sed 's/^/# /' "$OUT/make.log"
	echo "1..1"
	exit 1
fi

# Each program prints TAP of its own; here they are one list.
tests=1 failures=0
echo "ok 1 - compiles for aarch64"
for name in "${TESTS[@]}"; do
	planned=0 seen=0
	while IFS= read -r line; do
		case $line in
		1..*) planned=${line#1..} ;;
		"ok "*) seen=$((seen + 1)) tests=$((tests + 1)) && echo "ok $tests - $name: ${line#* - }" ;;
		*) echo "# $line" ;;
		esac
	done < <(qemu-aarch64-static "$OUT/test_$name" 2>&1)
	if [ "$planned" -eq 0 ] || [ "$seen" -ne "$planned" ]; then
		tests=$((tests + 1)) failures=1
		echo "not ok $tests - $name: $seen of $planned tests passed"
	fi
done
echo "1..$tests"
exit $failures
