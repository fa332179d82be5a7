#!/bin/bash
# Gets the proxies that `make bench-cutover` measures flipgate against: setup_proxies.sh FOLDER
#
# Debian's packages are unpacked below FOLDER/root, so that nothing is installed and no service is
# started. What cannot be had is said, and leaves a gap in the table.
set -uo pipefail

[ $# = 1 ] || {
	echo "usage: tests/bench/setup_proxies.sh FOLDER" >&2
	exit 1
}
folder=$1
mkdir -p "$folder" || exit 1

# shellcheck source=tests/bench/unpack.sh
. "$(dirname "${BASH_SOURCE[0]}")/unpack.sh"

# With the libraries that they need themselves and a minimal Debian lacks.
unpack nginx nginx libnginx-mod-stream
unpack HAProxy haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1
exit 0
