#!/bin/sh
# In the test machine: one gateway, load from a namespace on the other end of a veth pair, a new
# version published meanwhile, then another gateway in its place. TAP. Ends with the machine, so it
# removes nothing.
SUBJECT=cutover
# shellcheck source=vmtest/common.sh
. /common.sh

# field NAME: its number or word in the JSON report of the load.
field()
{
	tr -d ' \n' </tmp/report | grep -oE "\"$1\":[^,}]+" | head -n 1 | cut -d: -f2
}

is()
{
	value=$(field "$1")
	[ "$value" = "$2" ] || { echo "# $1 is ${value:-missing}, wanted $2" && return 1; }
}

set_up()
{
	ip netns add fgt-client &&
		ip link add gw0 type veth peer name cl0 netns fgt-client &&
		ip addr add $SERVER/24 dev gw0 &&
		ip link set gw0 up &&
		ip -n fgt-client addr add 10.77.0.2/24 dev cl0 &&
		ip -n fgt-client link set cl0 up &&
		ethtool -K gw0 tx off >/dev/null &&
		ip netns exec fgt-client ethtool -K cl0 tx off >/dev/null
}

# Emulated CPUs are slow and few: a low rate, a worker that sleeps, patient clients.
start_load()
{
	ip netns exec fgt-client flipgate load $SERVER:9000 digits --input $DATA/inputs.npy \
		--expect 1=$DATA/reference_1.npy --expect 2=$DATA/reference_2.npy \
		--rate 200 --flows 8 --flow-requests 20 --duration 12 --output json >/tmp/report &
	load=$!
}

start_gateway()
{
	flipgated --interface gw0 --listen $SERVER:9000 --repository /tmp/models --socket $SOCKET \
		--pin-dir /sys/fs/bpf/fgt --poll sleep --flow-idle 500ms --keep 0s "$@" \
		>>/tmp/gateway.log 2>&1 &
	gateway=$!
}

nothing_is_lost()
{
	is lost 0 && is mixed_version_flows 0 && is wrong_outputs 0
}

echo 1..12
result "namespaces and a veth pair" set_up
publish 1
start_gateway
result "the gateway is ready" until_done 30 status_has '"ready":true'
result "in native mode" status_has '"mode":"native"'
start_load
sleep 3
publish 2
result "version 2 goes live" until_done 30 status_has '"version":2,"state":"live"'
result "the load ends" wait $load
result "nothing is lost, mixed or wrong" nothing_is_lost
sed 's/^/# /' /tmp/report
old=$gateway
start_load
sleep 2
start_gateway --replace --buckets-log2 12
result "another gateway takes its place" until_done 30 status_has "\"keeper_pid\":$gateway"
result "the first one ends well" wait $old
result "native mode comes back" until_done 30 status_has '"mode":"native"'
result "the load ends" wait $load
result "nothing is lost, mixed or wrong" nothing_is_lost
kill -TERM $gateway
result "the other one ends well" wait $gateway
sed 's/^/# /' /tmp/gateway.log /tmp/report /tmp/status.err 2>/dev/null
