#!/bin/bash
# Installs the Debian packages that flipgate's build, tests and demo need: tools/setup.sh [--vm]
# Prints what it will install; prints nothing, and needs neither root nor a network, when nothing
# is missing. --vm adds what `make vmtest` needs.
set -euo pipefail

PACKAGES=(
	gcc                  # the programs; brings AddressSanitizer and UBSan
	libc6-dev            # C library headers; gcc only recommends it
	make                 # the build
	clang-14             # the BPF programs; the second compiler that the tests hold the code to
	libclang-rt-14-dev   # libFuzzer and clang's sanitizers, for make fuzz
	clang-format-14      # the formatting check
	bpftool              # skeletons (the C view of a BPF object)
	libbpf-dev           # loads BPF programs, maps and links; brings libelf and zlib
	liburing-dev         # io_uring, the workers' sockets
	libxxhash-dev        # the steering hash, plan digests
	libseccomp-dev       # the sandbox of workers and packers: system calls
	libcap-ng-dev        # the sandbox of workers and packers: capabilities
	libcyaml-dev         # the configuration file
	libyaml-dev          # where in a configuration file something stands
	libjansson-dev       # JSON on the control socket
	libhdf5-dev          # Keras models: model.h5 and the weights in model.keras
	libzip-dev           # Keras models: model.keras; golden.npz
	zlib1g-dev           # Keras models: compressed weights are tried before libhdf5 may
	libcmocka-dev        # unit tests
	pkg-config           # the test that a client builds against flipgate.pc
	gcc-aarch64-linux-gnu # the kernels for aarch64, for tests/check_neon.sh
	libc6-dev-arm64-cross # their C library
	qemu-user-static     # runs them
	iproute2             # ip: tests and demo make network namespaces
	ethtool              # tests and demo turn off checksum offload on veth
	python3              # end-to-end tests, demo and checks; standard library only
	python3-venv         # the tests' own onnxruntime (make oracle)
)

VM_PACKAGES=(
	qemu-system-x86      # the virtual machine; TCG, so no KVM is needed
	busybox-static       # the guest's shell
	cpio                 # packs the guest's file system
)

say()
{
	echo "flipgate set-up: $*" >&2
}

missing()
{
	local package
	for package in "$@"; do
		[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
			echo "$package"
	done
}

case "${1:-}" in
"") ;;
--vm) PACKAGES+=("${VM_PACKAGES[@]}") ;;
*)
	say "unknown argument '$1'; usage: tools/setup.sh [--vm]"
	exit 1
	;;
esac

if ! command -v dpkg-query >/dev/null; then
	say "this is not Debian. Install what Debian 12 calls: ${PACKAGES[*]}"
	say "then run make with SETUP=no"
	exit 1
fi

mapfile -t wanted < <(missing "${PACKAGES[@]}")
[ ${#wanted[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	say "missing Debian packages: ${wanted[*]}"
	say "installing them needs root, and so do the tests and the demo, which load BPF programs" \
		"and make network namespaces. Run it again as root."
	exit 1
fi

say "installing Debian packages: ${wanted[*]}"
export DEBIAN_FRONTEND=noninteractive
# Some other source in apt's list may be down: what counts is whether the install succeeds.
apt-get update -q >&2 || say "apt-get update failed in part; trying to install all the same"
apt-get install -q -y --no-install-recommends "${wanted[@]}" >&2 || {
	say "apt-get could not install them (its message is above); see to it and run again"
	exit 1
}
