#!/bin/bash
# Boots a Debian kernel in qemu and runs the programs of vmtest/programs.txt in it:
# vmtest/vm.sh VERSION SUITE. Prints their TAP. Needs neither root nor KVM. Environment: BUILD.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VERSION=$1
SUITE=$2
BUILD=${BUILD:-build}
FOLDER=$BUILD/vmtest/$VERSION
LIMIT_S=500
TOOLS=(/bin/sh /sbin/ip /sbin/ethtool) # busybox's own shell would prefer its own, smaller ip

# The programs to run, paths below $BUILD; at least one for every line of programs.txt.
programs()
{
	local pattern found
	while read -r pattern; do
		[[ -n $pattern && $pattern != \#* ]] || continue
		found=$(cd "$BUILD" && compgen -G "$pattern") || {
			echo "vmtest: $BUILD has no $pattern (vmtest/programs.txt)" >&2
			return 1
		}
		grep -v '\.' <<<"$found" # a program has no suffix; what lies beside it may
	done <vmtest/programs.txt
}

# Copies a program and the shared libraries it names into the guest.
add_program()
{
	local from=$1 to=$2 library
	install -D "$(realpath "$from")" "$GUEST/$to"
	for library in $(ldd "$from" | grep -oE '/[^ ]+'); do
		[ -e "$GUEST/$library" ] || install -D "$(realpath "$library")" "$GUEST/$library"
	done
}

make_guest()
{
	local program module
	chmod 755 "$GUEST" # it becomes the root folder
	mkdir -p "$GUEST"/{bin,sbin,proc,sys,dev,run,tmp,modules,tests,etc}
	cp /bin/busybox "$GUEST/bin/"
	ln -s busybox "$GUEST/bin/mount" # init's first step; it installs the others
	for program in "${TOOLS[@]}"; do
		add_program "$program" "$program"
	done
	for program in $PROGRAMS; do
		add_program "$BUILD/$program" "$program"
	done
	for module in "$FOLDER"/modules/*.ko; do
		cp "$module" "$GUEST/modules/"
	done
	cp -r tests/data "$GUEST/tests/"
	install -m 755 vmtest/init.sh "$GUEST/init"
	install -m 755 vmtest/{common,cutover,interfaces}.sh "$GUEST/"
	echo "nobody:x:65534:65534:nobody:/:/bin/false" >"$GUEST/etc/passwd"
	echo "nogroup:x:65534:" >"$GUEST/etc/group"
	tr ' ' '\n' <<<"$PROGRAMS" | grep '^tests/' >"$GUEST/programs" || true
	(cd "$GUEST" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$FOLDER/guest.cpio.gz"
}

# One thread for both CPUs: with two, a CPU sometimes runs into an instruction that the kernel is
# just patching on the other, and the boot ends in a double fault. Without cx16: after cmpxchg16b
# without a lock prefix, qemu 7.2 leaves garbage in the flags, and the allocator of Linux 6.12,
# which uses it, crashes in one boot out of five.
boot()
{
	timeout "$LIMIT_S" qemu-system-x86_64 -accel tcg,thread=single -cpu max,-cx16 -smp 2 -m 1024 \
		-nodefaults -no-user-config -display none -no-reboot -serial stdio \
		-kernel "$FOLDER/vmlinuz" -initrd "$FOLDER/guest.cpio.gz" \
		-append "console=ttyS0 quiet panic=-1 oops=panic loglevel=4" \
		</dev/null | tr -d '\r' >"$FOLDER/console.log"
}

# Gives the guest's tests numbers of their own, and tells what kernel they ran on.
report()
{
	awk -v kernel="Linux $VERSION" '
	/^(not )?ok( |$)/ {
		result = /^not/ ? "not ok " : "ok "
		sub(/^(not )?ok( +[0-9]+)?/, "")
		print result (++count) $0
		next
	}
	/^1\.\.[0-9]+/ { next }
	/^# vmtest: done/ { done = 1 }
	{ print (/^#/ ? "" : "# ") $0 }
	END {
		print (done ? "ok " : "not ok ") ++count " - " kernel " booted, ran all and ended"
		print "1.." count
		exit !done
	}' "$FOLDER/console.log"
}

vmtest/fetch.sh "$VERSION" "$SUITE" "$FOLDER"
PROGRAMS=$(programs)
GUEST=$(mktemp -d /tmp/fgt-guest-XXXXXX)
trap 'rm -rf "$GUEST"' EXIT
make_guest
boot || echo "# qemu ended with status $?, or took longer than $LIMIT_S s"
report
