#!/usr/bin/env python3
"""Raw frames: what the stack would not deliver, native and generic do not answer either.

Mode sockets is the reference: every frame is sent in each mode, and whether an answer comes, and from
which MAC, must be the same.
"""

import ipaddress
import json
import socket
import struct
import time

from harness import (CLIENT4, CLIENT6, PORT, SERVER4, SERVER6, Gateway, Net, Repository, digits_rows,
                     main, request, run)

OTHER4, BROADCAST4 = "10.77.0.9", "10.77.0.255"  # the gateway's second address, its subnet's
GROUP4, GROUP6 = "01:00:5e:00:00:01", "33:33:00:00:00:01"


def checksum(data):
    total = sum(int.from_bytes(data[i:i + 2].ljust(2, b"\0"), "big")
                for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def packed(address):
    return ipaddress.ip_address(address).packed


def datagram(source, target, payload, sport=40000):
    """A UDP datagram with its checksum."""
    length = 8 + len(payload)
    pseudo = packed(source) + packed(target) + struct.pack(">II", length, 17)
    udp = struct.pack(">HHHH", sport, PORT, length, 0) + payload
    return udp[:6] + struct.pack(">H", checksum(pseudo + udp) or 0xffff) + udp[8:]


def ipv4(payload, source=CLIENT4, bend=0, sport=40000):
    udp = datagram(source, SERVER4, payload, sport)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, packed(source),
                     packed(SERVER4))
    return b"\x08\x00" + ip[:10] + struct.pack(">H", checksum(ip) ^ bend) + ip[12:] + udp


def ipv6(payload, source=CLIENT6, sport=40000):
    udp = datagram(source, SERVER6, payload, sport)
    return b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, len(udp), 17, 64) + packed(source) + \
        packed(SERVER6) + udp


def tagged(payload, *tags):
    return b"".join(struct.pack(">HH", kind, vlan) for kind, vlan in tags) + ipv4(payload)


# name: (destination MAC or None for the interface's own, what stands behind the MACs, the counter
# that native and generic raise)
FRAMES = {
    "plain": (None, ipv4, "xdp_steered"),
    "plain IPv6": (None, ipv6, "xdp_steered"),
    "another host's MAC": ("02:00:00:00:00:99", ipv4, "xdp_pass_frame"),
    "another host's MAC, IPv6": ("02:00:00:00:00:99", ipv6, "xdp_pass_frame"),
    "broadcast MAC": ("ff:ff:ff:ff:ff:ff", ipv4, "xdp_pass_frame"),
    "group MAC": (GROUP4, ipv4, "xdp_pass_frame"),
    "group MAC, IPv6": (GROUP6, ipv6, "xdp_pass_frame"),
    "tag of VLAN 5": (None, lambda data: tagged(data, (0x8100, 5)), "xdp_pass_frame"),
    "tag of VLAN 0": (None, lambda data: tagged(data, (0x8100, 0)), "xdp_pass_frame"),
    "two tags": (None, lambda data: tagged(data, (0x88a8, 5), (0x8100, 6)), "xdp_pass_frame"),
    "wrong IPv4 checksum": (None, lambda data: ipv4(data, bend=0x40), "xdp_drop_checksum"),
    "port 0": (None, lambda data: ipv4(data, sport=0), "xdp_pass_source"),
    "port 0, IPv6": (None, lambda data: ipv6(data, sport=0), "xdp_pass_source"),
}
for address in ("0.0.0.0", "127.0.0.1", "127.9.9.9", "224.0.0.1", "239.1.2.3", "255.255.255.255",
                BROADCAST4, SERVER4, OTHER4):
    FRAMES["from " + address] = (None, lambda data, address=address: ipv4(data, address),
                                 "xdp_pass_source")
for address in ("::", "::1", "ff02::1", "ff0e::5", "::ffff:10.77.0.2", SERVER6):
    FRAMES["from " + address] = (None, lambda data, address=address: ipv6(data, address),
                                 "xdp_pass_source")


def mac(net, name, device):
    link = json.loads(run("ip", "-j", "-n", name, "link", "show", "dev", device).stdout)[0]
    return bytes.fromhex(link["address"].replace(":", ""))


def answers(net, wire, own, frames, wait_s=0.6):
    """Sends all frames; {name: MACs that answers came from}."""
    server, seen = mac(net, net.gw, "gw0"), {name: set() for name in frames}
    row, names = digits_rows()[0], list(frames)
    for number, name in enumerate(names):
        target, build, _ = frames[name]
        target = bytes.fromhex(target.replace(":", "")) if target else server
        wire.send(target + own + build(request(row, request_id=1000 + number)))
    end = time.monotonic() + wait_s
    while (left := end - time.monotonic()) > 0:
        wire.settimeout(left)
        try:
            frame = wire.recv(4096)
        except socket.timeout:
            break
        start = frame.find(b"FGP1\x01\x02")
        if frame[6:12] != own and start > 0 and frame[12:14] != b"\x08\x06":
            number = int.from_bytes(frame[start + 24:start + 32], "little") - 1000
            seen[names[number]].add(frame[6:12].hex(":"))
    return seen


def open_wire(net):
    with net.inside(net.cl):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind(("cl0", 0))
    return wire, wire.getsockname()[4]


def prepare(net):
    """A second address; neighbours that are known, so that no answer waits for one."""
    run("ip", "-n", net.gw, "addr", "add", f"{OTHER4}/24", "dev", "gw0")
    run("ip", "-n", net.gw, "link", "set", "gw0", "promisc", "on")
    lladdr = mac(net, net.cl, "cl0").hex(":")
    for client in (CLIENT4, CLIENT6):
        run("ip", "-n", net.gw, "neigh", "replace", client, "lladdr", lladdr, "dev", "gw0")


def ask_all(repository, mode):
    """({name: MACs that answers came from, "own" for the interface's}, counters)"""
    with Net() as net:
        prepare(net)
        server = mac(net, net.gw, "gw0").hex(":")
        with Gateway(net, repository, mode=mode) as gateway:
            wire, own = open_wire(net)
            with wire:
                seen = answers(net, wire, own, FRAMES)
            return {name: {"own" if one == server else one for one in macs}
                    for name, macs in seen.items()}, gateway.counters()


def same_as_the_stack():
    repository, wanted = Repository(), {}
    repository.publish(1)
    for _, _, counter in FRAMES.values():
        wanted[counter] = wanted.get(counter, 0) + 1
    stack, stack_counters = ask_all(repository, "sockets")
    assert {name for name in FRAMES if stack[name]} == {
        "plain", "plain IPv6", "broadcast MAC", "group MAC", "group MAC, IPv6", "tag of VLAN 0"}
    for mode in ("native", "generic"):
        seen, counters = ask_all(repository, mode)
        wrong = {name: (seen[name], "sockets:", stack[name])
                 for name in FRAMES if seen[name] != stack[name]}
        assert not wrong, (mode, wrong)
        assert {name: counters[name] for name in wanted} == wanted, (mode, counters)
    assert stack_counters["sock_drop_source"] == 3, stack_counters


def the_interface_gets_another_mac():
    """The keeper follows it, so that requests stay in XDP; until then the stack serves them."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        prepare(net)
        wire, own = open_wire(net)
        with wire:
            run("ip", "-n", net.gw, "link", "set", "gw0", "address", "02:00:00:00:77:01")
            end = time.monotonic() + 5
            while not gateway.counters()["xdp_steered"]:
                assert answers(net, wire, own, {"plain": FRAMES["plain"]}, 0.1)["plain"] == \
                    {"02:00:00:00:77:01"}
                assert time.monotonic() < end, gateway.counters()


if __name__ == "__main__":
    main(same_as_the_stack, the_interface_gets_another_mac)
