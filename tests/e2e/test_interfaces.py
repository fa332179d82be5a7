#!/usr/bin/env python3
"""What an interface can be, and what happens to it while it serves: a mode is taken only where an
answer can leave, what is lost is said, and native comes back by itself."""

import contextlib
import fcntl
import itertools
import json
import os
import select
import signal
import socket
import struct
import time

from harness import (CLIENT4, CLIENT6, PORT, SERVER4, SERVER6, Client, Gateway, Net, Repository,
                     close_to, digits_rows, load_end, load_start, main, reference, request, run, wait_for)

ROW = digits_rows()[0]
TUNSETIFF, IFF_TUN, IFF_TAP, IFF_NO_PI = 0x400454ca, 1, 2, 0x1000


PORTS = itertools.count(20000)


def stranger(net, address=SERVER4):
    """A client whose flow there was never before: a port that came again would be one of the old workers."""
    return Client(net, address, source_port=next(PORTS))


def published():
    repository = Repository()
    repository.publish(1)
    return repository


def answers(client, version=1):
    """Asks once. The answer is right and came within two seconds."""
    reply = client.ask(request(ROW))
    return bool(reply and reply.status == "ok" and close_to(reply.floats(), reference(version)[0]))


def steered(gateway):
    return gateway.counters()["xdp_steered"]


def fast(gateway, mode="native"):
    """Waits until the gateway serves in that mode by workers that have what it takes."""
    def renewed():
        status = gateway.status()
        phases = [generation["phase"] for generation in status["generations"]]
        return status["mode"] == mode and not status["mode_reason"] and "starting" not in phases
    wait_for(f"mode {mode}", renewed)


def all_by_xdp(net, gateway, version=1, address=SERVER4):
    """New flows reach workers by AF_XDP, each is answered."""
    def by_xdp():
        before = steered(gateway)
        with stranger(net, address) as client:
            return answers(client, version) and steered(gateway) == before + 1
    wait_for("an answer by AF_XDP", by_xdp)
    before = gateway.counters()
    for _ in range(10):
        with stranger(net, address) as client:
            assert answers(client, version)
    after = gateway.counters()
    assert after["xdp_steered"] - before["xdp_steered"] == 10, (before, after)
    assert after["xdp_pass_no_xsk"] == before["xdp_pass_no_xsk"], (before, after)


def new_version_works(net, gateway, repository):
    repository.publish(2)
    gateway.wait_live(2)
    all_by_xdp(net, gateway, 2)
    failed = [version for model in gateway.status()["models"] for version in model["versions"]
              if version["state"] == "failed"]
    assert not failed, failed


def plug(net, queues=1):
    """The veth pair, as Net makes it."""
    many = ("numtxqueues", str(queues), "numrxqueues", str(queues))
    run("ip", "link", "add", "gw0", *many, "netns", net.gw, "type", "veth", "peer", "name", "cl0",
        *many, "netns", net.cl)
    for name, device, v4, v6 in ((net.gw, "gw0", SERVER4, SERVER6),
                                 (net.cl, "cl0", CLIENT4, CLIENT6)):
        addresses(name, device, v4, v6)
        run("ip", "-n", name, "link", "set", device, "up")


def addresses(name, device, v4=SERVER4, v6=SERVER6):
    run("ip", "-n", name, "addr", "add", f"{v4}/24", "dev", device)
    run("ip", "-n", name, "addr", "add", f"{v6}/64", "dev", device, "nodad")


def refused(net, repository, mode, interface, *reasons):
    """flipgated does not start in a mode from which nothing would come back, and says why."""
    with Gateway(net, repository, mode=mode, interface=interface, ready=False) as gateway:
        assert gateway.process.wait(10) != 0
        for reason in (interface, *reasons):
            assert reason in gateway.log(), gateway.log()


# ---- what an interface can be ----------------------------------------------------------------


def loopback():
    repository = published()
    with Net() as net:
        for mode in ("native", "generic"):
            refused(net, repository, mode, "lo", "loopback")
        listen = [f"127.0.0.1:{PORT}", f"[::1]:{PORT}", f"{SERVER4}:{PORT}"]
        with Gateway(net, repository, mode=None, interface="lo", listen=listen) as gateway:
            status = gateway.status()
            assert status["mode"] == "sockets" and "loopback" in status["mode_reason"], status
            for address in ("127.0.0.1", "::1", SERVER4):
                with Client(net, address, space=net.gw) as client:
                    assert answers(client), address


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def without_ethernet():
    """A tunnel's packets have no Ethernet header: XDP has nothing to offer there."""
    repository, payload = published(), request(ROW)
    udp = struct.pack(">HHHH", 4242, PORT, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                     socket.inet_aton("10.78.0.2"), socket.inet_aton("10.78.0.1"))
    ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    with Net() as net, net.inside(net.gw), open("/dev/net/tun", "r+b", buffering=0) as tun:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
        run("ip", "-n", net.gw, "addr", "add", "10.78.0.1/24", "dev", "tun0")
        run("ip", "-n", net.gw, "link", "set", "tun0", "up")
        refused(net, repository, "generic", "tun0", "Ethernet")
        with Gateway(net, repository, mode=None, interface="tun0",
                     listen=[f"10.78.0.1:{PORT}"]) as gateway:
            assert gateway.status()["mode"] == "sockets", gateway.status()["mode"]
            tun.write(ip + udp)
            while select.select([tun], [], [], 3)[0]:
                packet = tun.read(2048)
                if packet[9] == 17:
                    break
            at = packet.index(b"FGP1")
            assert close_to(struct.unpack("<10f", packet[at + 64:at + 104]), reference(1)[0])


def other_devices():
    """A device on top of a veth: whatever mode is taken, answers come."""
    kinds = {
        "macvlan": (("link", "gw0", "name", "top0", "type", "macvlan", "mode", "bridge"),),
        "bridge": (("name", "top0", "type", "bridge"),),
    }
    for kind, (add,) in kinds.items():
        repository = published()
        with Net() as net:
            run("ip", "-n", net.gw, "addr", "flush", "dev", "gw0")
            run("ip", "-n", net.gw, "link", "add", *add)
            if kind == "bridge":
                run("ip", "-n", net.gw, "link", "set", "gw0", "master", "top0")
            addresses(net.gw, "top0")
            run("ip", "-n", net.gw, "link", "set", "top0", "up")
            with Gateway(net, repository, mode=None, interface="top0") as gateway:
                assert gateway.status()["mode"] == "generic", (kind, gateway.status()["mode"])
                all_by_xdp(net, gateway)
                all_by_xdp(net, gateway, address=SERVER6)


# ---- what happens to it ----------------------------------------------------------------------


def made_again():
    repository = published()
    with Net() as net, Gateway(net, repository) as gateway:
        all_by_xdp(net, gateway)
        run("ip", "-n", net.gw, "link", "del", "gw0")
        wait_for("the loss to be said", lambda: gateway.status()["mode"] == "sockets")
        status = gateway.status()
        assert "gw0" in status["mode_reason"] and status["queues"] == 0, status["mode_reason"]
        assert status["counters"]["mode_lost"] == 1, status["counters"]
        assert "mode.lost" in gateway.log()
        plug(net)
        fast(gateway)
        all_by_xdp(net, gateway)
        all_by_xdp(net, gateway, address=SERVER6)
        new_version_works(net, gateway, repository)
        assert gateway.counters()["mode_lost"] == 1
        assert gateway.stop() == 0


def a_version_without_the_interface():
    """Its workers serve by the stack, and by AF_XDP when there is an interface again."""
    repository = published()
    with Net() as net, Gateway(net, repository) as gateway:
        run("ip", "-n", net.gw, "link", "del", "gw0")
        repository.publish(2)
        gateway.wait_live(2)
        plug(net)
        fast(gateway)
        all_by_xdp(net, gateway, 2)


def moved_and_back():
    repository = published()
    with Net() as net, Gateway(net, repository) as gateway:
        for _ in range(2):  # at once: the interface looks as before
            run("ip", "-n", net.gw, "link", "set", "gw0", "netns", net.cl)
            run("ip", "-n", net.cl, "link", "set", "gw0", "netns", net.gw)
            addresses(net.gw, "gw0")
            run("ip", "-n", net.gw, "link", "set", "gw0", "up")
            fast(gateway)
            all_by_xdp(net, gateway)
        new_version_works(net, gateway, repository)


def renamed():
    """A name is only a name: whatever bears it is the interface, else what bore it."""
    repository = published()
    with Net() as net, Gateway(net, repository) as gateway:
        for old, new in (("gw0", "other0"), ("other0", "gw0")):
            run("ip", "-n", net.gw, "link", "set", old, "down")
            run("ip", "-n", net.gw, "link", "set", old, "name", new)
            run("ip", "-n", net.gw, "link", "set", new, "up")
            run("ip", "-n", net.gw, "addr", "replace", f"{SERVER6}/64", "dev", new, "nodad")
            all_by_xdp(net, gateway)
            wait_for("status to name it", lambda name=new: gateway.status()["interface"] == name)
            assert gateway.status()["mode"] == "native"
        assert gateway.counters()["mode_lost"] == 0
        new_version_works(net, gateway, repository)


def another_takes_the_name():
    repository = published()
    with Net() as net, Gateway(net, repository) as gateway:
        all_by_xdp(net, gateway)
        run("ip", "-n", net.gw, "link", "set", "gw0", "down")
        run("ip", "-n", net.gw, "link", "set", "gw0", "name", "old0")
        run("ip", "-n", net.cl, "link", "set", "cl0", "name", "old1")
        run("ip", "-n", net.gw, "addr", "flush", "dev", "old0")
        run("ip", "-n", net.cl, "addr", "flush", "dev", "old1")
        plug(net)
        all_by_xdp(net, gateway)
        fast(gateway)
        new_version_works(net, gateway, repository)


def address_goes_and_comes():
    """A version that starts while the address is away is a good one."""
    repository = published()
    with Net() as net, Gateway(net, repository, "--listen-tcp", f"{SERVER4}:{PORT}") as gateway:
        run("ip", "-n", net.gw, "addr", "flush", "dev", "gw0")
        repository.publish(2)
        gateway.wait_live(2)
        addresses(net.gw, "gw0")
        all_by_xdp(net, gateway, 2)
        all_by_xdp(net, gateway, 2, address=SERVER6)


def wildcard_made_again():
    """The addresses come later than the interface, and XDP learns them."""
    repository = published()
    with Net() as net, Gateway(net, repository,
                               listen=[f"0.0.0.0:{PORT}", f"[::]:{PORT}"]) as gateway:
        run("ip", "-n", net.gw, "addr", "add", "10.77.0.7/24", "dev", "gw0")
        all_by_xdp(net, gateway, address="10.77.0.7")
        run("ip", "-n", net.gw, "link", "del", "gw0")
        wait_for("the loss to be said", lambda: gateway.status()["mode"] == "sockets")
        plug(net)
        run("ip", "-n", net.gw, "addr", "add", "10.77.0.8/24", "dev", "gw0")
        fast(gateway)
        for address in (SERVER4, SERVER6, "10.77.0.8"):
            all_by_xdp(net, gateway, address=address)


def program_taken_off():
    """Somebody takes the program off by force: said, and put on again."""
    repository = published()
    with Net() as net, Gateway(net, repository) as gateway:
        all_by_xdp(net, gateway)
        ours = [link["id"] for link in json.loads(run("bpftool", "-j", "link").stdout)
                if link["type"] == "xdp" and holds(gateway, link["id"])]
        assert len(ours) == 1, ours
        run("bpftool", "link", "detach", "id", str(ours[0]))
        wait_for("the loss to be said", lambda: gateway.counters()["mode_lost"] == 1)
        fast(gateway)
        all_by_xdp(net, gateway)
        assert len(gateway.status()["generations"]) == 1  # the same workers


def holds(gateway, link):
    """Does flipgated hold that BPF link?"""
    folder = f"/proc/{gateway.process.pid}/fdinfo"
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError), open(f"{folder}/{fd}") as info:
            if f"link_id:\t{link}\n" in info.read():
                return True
    return False


def facts_are_followed():
    """The MTU and the MAC address change."""
    repository = published()
    with Net() as net, Gateway(net, repository) as gateway:
        run("ip", "-n", net.gw, "link", "set", "gw0", "mtu", "1400")
        wait_for("the MTU", lambda: gateway.status()["mtu"] == 1400)
        run("ip", "-n", net.gw, "link", "set", "gw0", "address", "02:00:00:00:77:01")
        wait_for("the MAC address", lambda: "mac=02:00:00:00:77:01" in gateway.log())
        run("ip", "-n", net.cl, "neigh", "flush", "dev", "cl0")
        all_by_xdp(net, gateway)
        assert gateway.counters()["mode_lost"] == 0


def more_queues():
    """ethtool -L: each queue has its socket again, and no request is lost meanwhile."""
    repository = published()
    with Net(queues=4) as net:
        for name, device in ((net.gw, "gw0"), (net.cl, "cl0")):
            run(*net.command(name, ["ethtool", "-L", device, "rx", "1", "tx", "1"]))
        with Gateway(net, repository, "--cpus", "0,1") as gateway:
            assert gateway.status()["queues"] == 1
            # The peer first: native XDP wants no more tx queues there than rx queues here.
            run(*net.command(net.gw, ["ethtool", "-L", "gw0", "rx", "4", "tx", "1"]))
            run(*net.command(net.cl, ["ethtool", "-L", "cl0", "rx", "4", "tx", "4"]))
            run(*net.command(net.gw, ["ethtool", "-L", "gw0", "rx", "4", "tx", "4"]))
            for _ in range(50):
                with stranger(net) as client:
                    assert answers(client)
            wait_for("the queues to be bound", lambda: gateway.status()["queues"] == 4)
            fast(gateway)
            all_by_xdp(net, gateway)
            before = gateway.counters()["xdp_pass_no_xsk"]
            for _ in range(100):
                with stranger(net) as client:
                    assert answers(client)
            assert gateway.counters()["xdp_pass_no_xsk"] == before
            new_version_works(net, gateway, repository)


def nothing_is_lost_by_a_renewal():
    """Load while the workers are replaced by ones that have the new interface's sockets."""
    repository = published()
    with Net() as net, Gateway(net, repository, "--flow-idle", "300ms") as gateway:
        run("ip", "-n", net.gw, "link", "del", "gw0")
        wait_for("the loss to be said", lambda: gateway.status()["mode"] == "sockets")
        plug(net)
        before = steered(gateway)
        process = load_start(net, "--rate", "1000", "--duration", "4", "--flows", "20",
                             "--flow-requests", "20")
        fast(gateway)
        report = load_end(process)
        for key in ("lost", "mixed_version_flows", "wrong_outputs"):
            assert report[key] == 0, (key, report)
        assert steered(gateway) > before + 1000


def lost_with_requests_in_its_rings():
    """What waits for a worker when the interface goes is given up: counted, and nobody waits."""
    repository = published()
    with Net() as net, Gateway(net, repository, poll="sleep") as gateway, Client(net) as client:
        assert answers(client)
        worker = gateway.workers()[0]
        os.kill(worker["pid"], signal.SIGSTOP)
        for _ in range(20):
            client.send(request(ROW))
        wait_for("the requests", lambda: steered(gateway) == 21)
        run("ip", "-n", net.gw, "link", "del", "gw0")
        os.kill(worker["pid"], signal.SIGCONT)
        wait_for("the loss to be said", lambda: gateway.status()["mode"] == "sockets")
        wait_for("the answers", lambda: gateway.workers()[0]["requests"] == 21)
        before = gateway.workers()[0]
        time.sleep(1)
        after = gateway.workers()[0]
        assert after["pid"] == worker["pid"] and after["send_failed"] == 20, after
        assert after["sleeps"] - before["sleeps"] < 200, (before["sleeps"], after["sleeps"])
        plug(net)
        fast(gateway)
        all_by_xdp(net, gateway)
        assert gateway.stop() == 0


if __name__ == "__main__":
    main(loopback, without_ethernet, other_devices, made_again, a_version_without_the_interface,
         moved_and_back, renamed, another_takes_the_name, address_goes_and_comes,
         wildcard_made_again, program_taken_off, facts_are_followed, more_queues,
         nothing_is_lost_by_a_renewal,
         lost_with_requests_in_its_rings)
