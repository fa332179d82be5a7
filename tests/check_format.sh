#!/bin/bash
# Holds all C to .clang-format. TAP. `make format` repairs.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

mapfile -t files < <(find bpf sched models userspace tools tests -name '*.[ch]' | sort)
if output=$(clang-format-14 --style=file --dry-run --Werror "${files[@]}" 2>&1); then
	echo "ok 1 - ${#files[@]} files are formatted"
	status=0
else
	echo "not ok 1 - files are not formatted: run make format"
	grep -oE '^[^:]+\.[ch]:[0-9]+' <<<"$output" | sort -u | head -n 20 | sed 's/^/# /'
	status=1
fi
echo 1..1
exit $status
