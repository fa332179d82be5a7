#!/usr/bin/env python3
"""Replies that are longer than their requests, on paths that just take the requests.

The model has 332 inputs and 340 outputs: 1,392 bytes are answered by 1,424.
"""

import os
import random
import struct
import tempfile
import time

import mlp
from harness import (CLIENT4, CLIENT6, SERVER4, SERVER6, Client, Gateway, Net, Repository, close_to,
                     main, request, run, wait_for)

SIZES, SEED = (332, 340), 5
ROW = [random.Random(SEED).uniform(-1, 1) for _ in range(SIZES[0])]
WANTED = mlp.answers(SIZES, SEED, [ROW])[0]
MTU = 1444  # 1,440 bytes of IPv6 and 1,420 of IPv4 fit; 1,472 and 1,452 do not
MODES = ("native", "generic", "sockets")


class Routed(Net):
    """A third namespace between the two, whose link to the client has a smaller MTU."""

    def __init__(self):
        super().__init__()
        self.router = self.gw[:-2] + "rt"

    def __enter__(self):
        super().__enter__()
        run("ip", "netns", "add", self.router)
        run("ip", "-n", self.cl, "link", "set", "cl0", "netns", self.router)
        run("ip", "link", "add", "rt0", "netns", self.router, "mtu", str(MTU), "type", "veth",
            "peer", "name", "cl0", "mtu", str(MTU), "netns", self.cl)
        for name, device, v4, v6 in ((self.router, "cl0", CLIENT4, CLIENT6),
                                     (self.router, "rt0", "10.78.0.1", "fd78::1"),
                                     (self.cl, "cl0", "10.78.0.2", "fd78::2")):
            run("ip", "-n", name, "link", "set", device, "up")
            run("ip", "-n", name, "addr", "add", f"{v4}/24", "dev", device)
            run("ip", "-n", name, "addr", "add", f"{v6}/64", "dev", device, "nodad")
        for name, v4, v6 in ((self.gw, CLIENT4, CLIENT6), (self.cl, "10.78.0.1", "fd78::1")):
            run("ip", "-n", name, "route", "add", "default", "via", v4)
            run("ip", "-n", name, "route", "add", "default", "via", v6)
        run(*self.command(self.router, ["sysctl", "-qw", "net.ipv4.ip_forward=1",
                                        "net.ipv6.conf.all.forwarding=1"]))
        return self

    def close(self):
        run("ip", "netns", "del", self.router, check=False)
        super().close()


def wide():
    repository = Repository()
    with tempfile.TemporaryDirectory(prefix="fgt-wide-") as folder:
        repository.publish(1, mlp.write(os.path.join(folder, "source"), SIZES, SEED), "wide")
    return repository


def ask(client, number=1, timeout_s=2.0):
    data = request(struct.pack(f"<{SIZES[0]}f", *ROW), cols=SIZES[0], model=b"wide",
                   request_id=number)
    reply = client.ask(data, timeout_s)
    assert not reply or (reply.status == "ok" and close_to(reply.floats(), WANTED)), reply.status
    return reply


def count(gateway, name):
    return sum(worker[name] for worker in gateway.workers())


def a_link_on_the_way(mode):
    """IPv4: routers fragment, nothing is lost. IPv6: the sender must learn, by the first reply."""
    with Routed() as net, Gateway(net, wide(), mode=mode) as gateway:
        with Client(net, SERVER4) as client:
            assert all(ask(client, number) for number in range(5)), gateway.status()
        with Client(net, SERVER6) as client:
            ask(client, timeout_s=0.3)
            assert all(ask(client, number) for number in range(5)), gateway.status()
        assert count(gateway, "send_failed") == 0
        if mode != "sockets":
            assert (count(gateway, "xsk_received"), count(gateway, "detoured")) == (11, 6)
            run("ip", "-n", net.gw, "route", "del", "default", "via", CLIENT6)
            with Client(net, SERVER6) as client:
                assert not ask(client, timeout_s=0.3)
            assert count(gateway, "send_failed") == 1


def the_interface_itself(mode):
    """Its MTU is lowered while it serves; nothing is lost once the keeper has seen it."""
    with Net() as net, Gateway(net, wide(), mode=mode) as gateway:
        with Client(net, SERVER4) as v4, Client(net, SERVER6) as v6:
            assert ask(v4) and ask(v6)
            for name, device in ((net.gw, "gw0"), (net.cl, "cl0")):
                run("ip", "-n", name, "link", "set", device, "mtu", str(MTU))
            wait_for("an answer after the change", lambda: ask(v4, timeout_s=0.2), 3)
            assert all(ask(v4, number) and ask(v6, number) for number in range(5))
            if mode != "sockets":
                assert count(gateway, "detoured") >= 1 + 6 + 5
            for name, device in ((net.gw, "gw0"), (net.cl, "cl0")):
                run("ip", "-n", name, "link", "set", device, "mtu", "1500")
            time.sleep(1.2)
            before = count(gateway, "detoured")
            assert all(ask(v4, number) for number in range(5))
            assert count(gateway, "detoured") == before


if __name__ == "__main__":
    main(*[(f"{test.__name__} {mode}", lambda test=test, mode=mode: test(mode))
           for test in (a_link_on_the_way, the_interface_itself) for mode in MODES])
