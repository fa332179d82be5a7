#!/bin/bash
# Gets what `make bench-kernels` measures flipgate against: tests/bench/kernels/setup.sh FOLDER
#
# Debian's packages are downloaded and unpacked below FOLDER/root, not installed; onnxruntime's
# wheel comes from PyPI and is unpacked to FOLDER/onnxruntime. The system stays as it is. What
# cannot be had is said, and leaves a gap in the table. Does nothing where all is there.
set -uo pipefail

# The version that the operators are tested against.
ONNXRUNTIME=$(grep '^onnxruntime==' "$(dirname "${BASH_SOURCE[0]}")/../../models/requirements.txt")
# With the libraries that they need themselves and a minimal Debian lacks.
declare -A DEBIAN=(
	[oneDNN]="libdnnl-dev libdnnl2 ocl-icd-libopencl1 libgomp1"
	[OpenBLAS]="libopenblas-pthread-dev libopenblas0-pthread libgfortran5 libquadmath0"
	[libxsmm]="libxsmm-dev"
	[SLEEF]="libsleef-dev libsleef3"
)

[ $# = 1 ] || {
	echo "usage: tests/bench/kernels/setup.sh FOLDER" >&2
	exit 1
}
folder=$1
mkdir -p "$folder" || exit 1

# shellcheck source=tests/bench/unpack.sh
. "$(dirname "${BASH_SOURCE[0]}")/../unpack.sh"

# The wheel, with pip in an environment of its own.
unpack_onnxruntime()
{
	[ ! -e "$folder/onnxruntime.ready" ] || return 0
	say "onnxruntime: downloading $ONNXRUNTIME from PyPI"
	if python3 -m venv "$folder/venv" >&2 &&
		"$folder/venv/bin/pip" install -q --disable-pip-version-check --no-deps \
			--only-binary :all: --upgrade --target "$folder/onnxruntime" "$ONNXRUNTIME" >&2; then
		touch "$folder/onnxruntime.ready"
	else
		say "onnxruntime: pip could not get it (its message is above)"
	fi
	rm -rf "$folder/venv"
}

for name in "${!DEBIAN[@]}"; do
	# The value is a list of words.
	# shellcheck disable=SC2086
	unpack "$name" ${DEBIAN[$name]}
done
unpack_onnxruntime
