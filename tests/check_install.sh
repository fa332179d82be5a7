#!/bin/bash
# Installs into a folder of its own, builds a client against what lies there, uninstalls. TAP.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

export BUILD=${BUILD:-build}
HERE=$(mktemp -d /tmp/fgt-install-XXXXXX)
trap 'rm -rf "$HERE"' EXIT
PREFIX=/opt/flipgate
unset MAKEFLAGS MFLAGS MAKELEVEL
tests=0
failures=0

# step NAME COMMAND...: one test, passed when the command ends with 0.
step()
{
	local name=$1 output
	shift
	tests=$((tests + 1))
	if output=$("$@" 2>&1); then
		echo "ok $tests - $name"
	else
		echo "not ok $tests - $name"
		sed 's/^/# /' <<<"$output"
		failures=1
	fi
}

run_make()
{
	make --no-print-directory BUILD="$BUILD" DESTDIR="$HERE" PREFIX=$PREFIX "$1"
}

programs_are_stripped()
{
	! readelf -S "$HERE$PREFIX/bin/flipgated" "$HERE$PREFIX/lib/libflipgate.so.1" |
		grep -F .debug_info
}

examples_are_good()
{
	local examples=$HERE$PREFIX/share/doc/flipgate/examples
	# Of this host, not of the example.
	sed -e '/^interface/d' -e "s|/srv/models|$HERE|" -e '/^state-dir/d' -e '/^audit-log/d' \
		"$examples/flipgate.yaml" >"$HERE/flipgate.yaml"
	"$HERE$PREFIX/bin/flipgated" --config "$HERE/flipgate.yaml" --check || return 1
	[ -s "$HERE$PREFIX/share/doc/flipgate/LICENSE" ] || return 1
	! command -v systemd-analyze >/dev/null || sed "s|/usr/local|$HERE$PREFIX|" \
		"$examples/flipgate.service" >"$HERE/flipgate.service" &&
		systemd-analyze verify --man=no "$HERE/flipgate.service"
}

programs_run()
{
	local program
	for program in flipgated flipgate flipgate-pack; do
		"$HERE$PREFIX/bin/$program" --version || return 1
	done
}

client_builds_and_runs()
{
	cat >"$HERE/client.c" <<-'C'
	#include <flipgate.h>
	#include <stdio.h>

	int main(void)
	{
		struct fg_client_error error;
		struct fg_client *client;

		if (fg_client_open(&client, "no port here", NULL, &error) == 0)
			return 1;
		puts(error.text);
		return 0;
	}
	C
	export PKG_CONFIG_PATH=$HERE$PREFIX/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$HERE
	# shellcheck disable=SC2046 # flags are words
	gcc -Wall -Wextra -Werror -o "$HERE/client" "$HERE/client.c" \
		$(pkg-config --cflags --libs flipgate) || return 1
	readelf -d "$HERE/client" | grep 'NEEDED.*libflipgate\.so\.1' || return 1
	[ -n "$(LD_LIBRARY_PATH=$HERE$PREFIX/lib "$HERE/client")" ]
}

nothing_is_left()
{
	run_make uninstall || return 1
	! find "$HERE$PREFIX" ! -type d | grep .
}

step "make install" run_make install
step "the installed programs start" programs_run
step "they are stripped" programs_are_stripped
step "the examples are good" examples_are_good
step "a client builds against flipgate.pc and runs" client_builds_and_runs
step "make uninstall removes every file" nothing_is_left
echo "1..$tests"
exit $failures
