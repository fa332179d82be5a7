#!/bin/bash
# Every operator against onnxruntime: tests/models/check_operators.py with the Python of
# `make oracle`. TAP.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

export BUILD=${BUILD:-build}
python=$BUILD/venv/bin/python
if [ ! -x "$python" ]; then
	echo "not ok 1 - $python is there"
	echo "# run: make BUILD=$BUILD oracle"
	echo "1..1"
	exit 1
fi
exec "$python" tests/models/check_operators.py
