#!/bin/bash
# Fetches a Debian kernel without installing it: vmtest/fetch.sh VERSION SUITE FOLDER
# Leaves FOLDER/vmlinuz and FOLDER/modules/*.ko, numbered in the order to load them; does nothing
# when they are there. The mirror is the one that this machine's apt uses.
set -euo pipefail

VERSION=$1
SUITE=$2
FOLDER=$3
MODULES=(veth bonding 8021q macvlan ipvlan)
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

fail()
{
	echo "vmtest: cannot fetch Debian's kernel $VERSION: $*" >&2
	exit 1
}

# apt with lists and caches of its own, that sees one suite only.
private_apt()
{
	local tool=$1
	shift
	"$tool" -q -o Dir::Etc::sourcelist="$APT/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$APT/lists" -o Dir::Cache="$APT/cache" \
		-o APT::Sandbox::User=root -o Acquire::Languages=none \
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

mirror()
{
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(REPO_URI) $(ORIGIN)/$(LABEL)' 'Created-By: Packages' |
		awk '$2 == "Debian/Debian" { print $1; exit }'
}

download()
{
	local uri package
	uri=$(mirror)
	[ -n "$uri" ] || fail "apt on this machine knows no Debian mirror: run apt-get update"
	mkdir -p "$APT/lists/partial" "$APT/cache/archives/partial"
	echo "deb [arch=amd64 signed-by=$KEYRING] $uri $SUITE main" >"$APT/sources.list"
	private_apt apt-get update --error-on=any >"$LOG" 2>&1 ||
		fail "apt-get update of $SUITE failed: no network? Its message is in $LOG"
	package=$(private_apt apt-cache show linux-image-cloud-amd64 |
		sed -nE '/^Depends:/ s/.*(linux-image-[^ ,]+).*/\1/p' |
		awk 'NR == 1') || package=none # awk reads all: apt-cache must not be cut off
	[[ $package == linux-image-"$VERSION".* ]] ||
		fail "$SUITE has '$package' now: name another suite in vmtest/test_linux_$VERSION"
	(cd "$WORK" && private_apt apt-get download "$package") >>"$LOG" 2>&1 ||
		fail "apt-get download $package failed; its message is in $LOG"
}

# Copies a module and, before it, those it depends on.
add_module()
{
	local file target dependency
	file=$(find "$WORK/root/lib/modules" -name "$1.ko" -o -name "$1.ko.xz" | head -n 1)
	[ -n "$file" ] || fail "the package has no module $1"
	! compgen -G "$FOLDER/modules/*-$1.ko" >/dev/null || return 0
	case $file in
	*.xz) busybox unxz "$file" && file=${file%.xz} ;;
	esac
	for dependency in $(tr '\0' '\n' <"$file" | sed -n 's/^depends=//p' | tr ',' ' '); do
		add_module "$dependency"
	done
	target=$(printf '%s/modules/%02d-%s.ko' "$FOLDER" \
		"$(find "$FOLDER/modules" -type f | wc -l)" "$1")
	cp "$file" "$target"
}

is_complete()
{
	local module
	for module in "${MODULES[@]}"; do
		compgen -G "$FOLDER/modules/*-$module.ko" >/dev/null || return 1
	done
	[ -e "$FOLDER/vmlinuz" ]
}

! is_complete || exit 0
[ "$(uname -m)" = x86_64 ] || fail "the virtual machines are x86_64, as must be the host"
mkdir -p "$FOLDER"
FOLDER=$(realpath "$FOLDER")
WORK=$FOLDER/work
APT=$WORK/apt
LOG=$FOLDER/fetch.log
rm -rf "$WORK" "$FOLDER/modules"
mkdir -p "$APT" "$FOLDER/modules"
download
dpkg-deb -x "$WORK"/*.deb "$WORK/root" || fail "the package does not unpack"
for module in "${MODULES[@]}"; do
	add_module "$module"
done
cp "$WORK"/root/boot/vmlinuz-* "$FOLDER/vmlinuz.tmp"
rm -rf "$WORK"
mv "$FOLDER/vmlinuz.tmp" "$FOLDER/vmlinuz" # last: with it the folder is complete
