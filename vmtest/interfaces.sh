#!/bin/sh
# In the test machine: interfaces on top of others, which only some kernels have. Whatever mode is
# taken there, answers come back. TAP. Ends with the machine, so it leaves files and namespaces.
SUBJECT=interfaces
# shellcheck source=vmtest/common.sh
. /common.sh
IN= # how to get to where the gateway is

# pair NAMESPACE NUMBER: one more veth pair between this namespace and that one.
pair()
{
	ip link add "g$2" type veth peer name "c$2" netns "$1" && ip link set "g$2" up &&
		ip -n "$1" link set "c$2" up
}

# bond MODE: two pairs, bonded at both ends.
bond()
{
	ip netns add fgt-bond && pair fgt-bond 0 && pair fgt-bond 1 &&
		one_end "" g "$1" && one_end "-n fgt-bond" c "$1" &&
		ip addr add $SERVER/24 dev top && ip -n fgt-bond addr add 10.77.0.2/24 dev top
}

one_end()
{
	# shellcheck disable=SC2086 # no namespace is no word
	{
		ip $1 link add top type bond mode "$3" miimon 100 &&
			ip $1 link set "${2}0" down && ip $1 link set "${2}1" down &&
			ip $1 link set "${2}0" master top && ip $1 link set "${2}1" master top &&
			ip $1 link set top up
	}
}

# on_top KIND...: a device of that kind on a pair, and on the client's end a VLAN if it is one.
on_top()
{
	ip netns add fgt-bond && pair fgt-bond 0 &&
		ip link add link g0 name top type "$@" && ip link set top up &&
		ip addr add $SERVER/24 dev top || return 1
	if [ "$1" = vlan ]; then
		ip -n fgt-bond link add link c0 name top type "$@" &&
			ip -n fgt-bond link set top up &&
			ip -n fgt-bond addr add 10.77.0.2/24 dev top
	else
		ip -n fgt-bond addr add 10.77.0.2/24 dev c0
		ip -n fgt-bond neigh add $SERVER dev c0 \
			lladdr "$(cat /sys/class/net/top/address)"
	fi
}

# An ipvlan that routes, in a namespace of its own: the host answers ARP and knows the ways.
routed()
{
	ip netns add fgt-bond && ip netns add fgt-routed && pair fgt-bond 0 &&
		ip addr add 10.77.0.250/24 dev g0 && ip -n fgt-bond addr add 10.77.0.2/24 dev c0 &&
		ip link add link g0 name top type ipvlan mode l3 &&
		ip link set top netns fgt-routed && ip -n fgt-routed link set lo up &&
		ip -n fgt-routed addr add $SERVER/24 dev top &&
		ip -n fgt-routed link set top up &&
		ip -n fgt-bond neigh add $SERVER dev c0 lladdr "$(cat /sys/class/net/g0/address)"
}

unplug()
{
	ip link del top
	ip netns del fgt-bond
	until_done 10 sh -c '! ip link show g0 2>/dev/null | grep -q g0'
}

answers()
{
	ip netns exec fgt-bond flipgate infer $SERVER:9000 digits --input $DATA/inputs.npy \
		--rows 0:1 --timeout 2000 >/tmp/infer.log 2>&1
}

counter_is_up()
{
	status_has "$1\":[1-9]"
}

serve()
{
	# shellcheck disable=SC2086 # words
	$IN flipgated --listen $SERVER:9000 --repository /tmp/models --socket $SOCKET \
		--pin-dir /sys/fs/bpf/fgt --poll sleep --keep 0s "$@" >/tmp/gateway.log 2>&1 &
	gateway=$!
}

end()
{
	kill -TERM $gateway
	wait $gateway || sed 's/^/# /' /tmp/gateway.log
}

# check NAME MODE INTERFACE COUNTER: ready in that mode, answers come, a counter that ends so is up.
check()
{
	serve --interface "$3"
	result "$1: ready" until_done 30 status_has '"ready":true'
	result "$1: mode $2" status_has "\"mode\":\"$2\""
	result "$1: answers come" until_done 20 answers
	result "$1: $4 counts" counter_is_up "$4"
	end
}

refused()
{
	! timeout 20 flipgated --listen $SERVER:9000 --repository /tmp/models --socket $SOCKET \
		--pin-dir /sys/fs/bpf/fgt "$@" >/tmp/refused.log 2>&1 &&
		grep -q "is a bond" /tmp/refused.log
}

ip link del gw0 2>/dev/null # of the cutover: it has the same addresses, and the first route
echo 1..40
[ -d /tmp/models/digits ] || publish 1
for mode in active-backup 802.3ad; do
	result "a bond ($mode)" bond $mode
	check "bond ($mode)" generic top xdp_steered
	result "bond ($mode): native is refused" refused --interface top --mode native
	check "port of a bond ($mode)" native g0 steered
	unplug
done
for kind in "vlan id 100" "macvlan mode bridge" "ipvlan mode l2"; do
	# shellcheck disable=SC2086 # words
	result "a device ($kind)" on_top $kind
	check "$kind" generic top xdp_steered
	unplug
done
result "a device (ipvlan mode l3)" routed
IN="ip netns exec fgt-routed"
check "ipvlan mode l3" sockets top sock_steered
sed 's/^/# /' /tmp/refused.log /tmp/infer.log /tmp/status.err 2>/dev/null
