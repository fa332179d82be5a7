#!/bin/sh
# The first process of the test machine: runs what /programs lists, then the cutover and the
# interfaces, prints TAP to the serial console, ends the machine.
export PATH=/sbin:/bin # the real ip before busybox's
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS0 2>&1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm
ip link set lo up
for module in /modules/*.ko; do
	insmod "$module" || echo "not ok - module $module"
done

# Runs one program; adds a failure of its own when it dies or prints no test.
run()
{
	name=$1
	shift
	echo "# $name"
	timeout -s INT -k 5 100 "$@" >/tmp/output
	code=$?
	cat /tmp/output
	grep -qE '^(not )?ok ' /tmp/output || echo "not ok - $name printed no test"
	[ $code -eq 0 ] || grep -qE '^not ok ' /tmp/output || echo "not ok - $name: exit status $code"
}

export CMOCKA_MESSAGE_OUTPUT=TAP BUILD=/
echo "# $(uname -sr), $(nproc) CPUs"
while read -r program; do
	run "$program" "/$program"
done </programs
if [ -x /bin/flipgated ]; then
	run cutover /cutover.sh
	run interfaces /interfaces.sh
fi
echo "# vmtest: done"
reboot -f
