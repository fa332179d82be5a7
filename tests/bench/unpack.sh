# shellcheck shell=bash
# unpack.sh: Debian packages downloaded and unpacked below $folder/root, not installed. For sourcing.

say()
{
	echo "bench set-up: $*" >&2
}

# download FOLDER PACKAGES...
download()
{
	# As the user who calls: apt's own one may not write here.
	(cd "$1" && apt-get download -q -o APT::Sandbox::User="$(id -un)" "${@:2}") >&2
}

# extract FOLDER: all Debian packages in it
extract()
{
	local deb
	for deb in "$1"/*.deb; do
		dpkg-deb -x "$deb" "$folder/root" >&2 || return 1
	done
}

# unpack NAME PACKAGES...: all of them, or nothing that counts. A first failure may only mean that
# apt's lists were never fetched.
unpack()
{
	local name=$1 debs
	shift
	[ ! -e "$folder/$name.ready" ] || return 0
	say "$name: downloading $*"
	debs=$(mktemp -d) || return 1
	if { download "$debs" "$@" || { apt-get update -q >&2 && download "$debs" "$@"; }; } &&
		extract "$debs"; then
		touch "$folder/$name.ready"
	else
		say "$name: apt-get could not get it (its message is above)"
	fi
	rm -rf "$debs"
}
