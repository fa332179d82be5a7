#!/usr/bin/env python3
"""FGP over TCP: right answers, bad clients, and cutovers that lose and reset nothing."""

import os
import signal
import socket
import struct
import threading
import time

from harness import (SERVER4, SERVER6, PORT, Client, Gateway, Net, Reply, Repository, close_to,
                     digits_rows, main, reference, request, run, wait_for)

ANY = PORT + 1
LISTEN = ("--listen-tcp", f"{SERVER4}:{PORT}", "--listen-tcp", f"[{SERVER6}]:{PORT}",
          "--listen-tcp", f"0.0.0.0:{ANY}", "--listen-tcp", f"[::]:{ANY}")
LEAVING = 2
ROWS = digits_rows()


def framed(message):
    return struct.pack("<I", len(message)) + message


class Stream:
    """A TCP connection from the client's namespace."""

    def __init__(self, net, address=SERVER4, port=PORT, timeout_s=5):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with LOCK, net.inside(net.cl):
            self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout_s)
        self.socket.connect((address, port))
        self.bytes = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def send(self, *messages):
        self.socket.sendall(b"".join(framed(message) for message in messages))

    def receive(self):
        """The next reply, or None at a clean end. Half a reply is an error."""
        while True:
            if len(self.bytes) >= 4:
                length = 4 + struct.unpack_from("<I", self.bytes)[0]
                if len(self.bytes) >= length:
                    message, self.bytes = self.bytes[4:length], self.bytes[length:]
                    return Reply(message)
            more = self.socket.recv(65536)
            if not more:
                assert not self.bytes, "the end came within a reply"
                return None
            self.bytes += more

    def ask(self, *args, **kwargs):
        self.send(request(*args, **kwargs))
        return self.receive()

    def ended(self):
        """The server closed it, one way or the other."""
        try:
            return self.receive() is None
        except ConnectionResetError:
            return True


LOCK = threading.Lock()  # setns is of the thread, but the fds that it opens are the process's


def connections(gateway):
    """Open now, in all generations."""
    return sum(generation["connections"] for generation in gateway.status()["generations"])


# ---- one gateway that is left alone ---------------------------------------------------------------

def right_answers(net):
    answers = reference(1)
    for address, port in ((SERVER4, PORT), (SERVER6, PORT), (SERVER4, ANY), (SERVER6, ANY)):
        with Stream(net, address, port) as stream:
            for number in range(20):
                reply = stream.ask(ROWS[number], request_id=number)
                assert reply.status == "ok" and reply.request_id == number and not reply.flags
                assert close_to(reply.floats(), answers[number])


def replies_need_no_padding(net):
    with Stream(net) as stream, Client(net) as client:
        message = request(bytes(64 * 50), rows=50, dtype=5)
        stream.send(message)
        assert stream.receive().status == "ok"
        assert client.ask(request(bytes(64 * 3), rows=3, dtype=5)).status == "ok"
        refused = stream.ask(ROWS[0], model=b"nobody")
        assert refused.status == "unknown_model", refused.status
        assert stream.ask(ROWS[0]).status == "ok"


def a_hundred_in_one_write(net):
    answers = reference(1)
    data = b"".join(framed(request(ROWS[n], request_id=n)) for n in range(100))
    for step in (len(data), 1000, 333, 67):
        with Stream(net) as stream:
            for at in range(0, len(data), step):
                stream.socket.sendall(data[at:at + step])
            seen = {}
            for _ in range(100):
                reply = stream.receive()
                seen[reply.request_id] = reply
            assert sorted(seen) == list(range(100))
            assert all(close_to(seen[n].floats(), answers[n]) for n in range(100))


def bad_clients_end(net):
    good = request(ROWS[0], request_id=1)
    bad = (b"GET / HTTP/1.1\r\n\r\n", struct.pack("<I", 63) + bytes(63),
           struct.pack("<I", 65508), struct.pack("<I", 0xffffffff),
           framed(request(ROWS[0], magic=1)), framed(request(ROWS[0], protocol=2)),
           framed(request(ROWS[0], kind=2)))
    for data in bad:
        with Stream(net) as stream:
            stream.socket.sendall(framed(good) + data)
            assert stream.receive().status == "ok"
            assert stream.ended(), data[:16]
    with Stream(net) as stream:  # half a message, then the end
        stream.socket.sendall(framed(good) + framed(good)[:100])
        stream.socket.shutdown(socket.SHUT_WR)
        assert stream.receive().status == "ok" and stream.ended()
    with Stream(net) as stream:  # the end after a whole one is no sin
        stream.send(good)
        stream.socket.shutdown(socket.SHUT_WR)
        assert stream.receive().status == "ok" and stream.receive() is None


def more_connections_than_there_are(net):
    """Idle ones give way, the longest idle first; who asks is served."""
    idle = []
    with Stream(net) as busy:
        for number in range(40):
            idle.append(Stream(net))
            assert busy.ask(ROWS[0]).status == "ok", number
        last = Stream(net)
        assert last.ask(ROWS[0]).status == "ok"
        assert idle[0].ended()
        assert idle[-1].ask(ROWS[0]).status == "ok"
        last.__exit__()
    for stream in idle:
        stream.__exit__()


def stopping_resets_nothing(gateway, net):
    with Stream(net) as idle, Stream(net) as busy:
        assert busy.ask(ROWS[0]).status == "ok"
        gateway.process.send_signal(signal.SIGTERM)
        assert idle.receive() is None and busy.receive() is None
    assert gateway.process.wait(10) == 0


def served():
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, *LISTEN, "--connections", "16") as gateway:
        for check in (right_answers, replies_need_no_padding, a_hundred_in_one_write,
                      bad_clients_end, more_connections_than_there_are):
            check(net)
        wait_for("all connections to be closed", lambda: connections(gateway) == 0)
        counters = gateway.counters()
        assert counters["tcp_steered"] > 50 and counters["tcp_lost"] == 0, counters
        stopping_resets_nothing(gateway, net)


# ---- cutovers ------------------------------------------------------------------------------------

class Load:
    """Clients in threads: long connections, some of which ignore that the server is leaving, and
    short ones. Whatever a connection did not answer is asked again on the next."""

    def __init__(self, net, pause_s=0.002):
        self.net, self.pause_s = net, pause_s
        self.running, self.errors, self.lives = True, [], []
        self.threads = [threading.Thread(target=self.run, args=kind) for kind in
                        (("patient", SERVER4), ("patient", SERVER6), ("deaf", SERVER4),
                         ("deaf", SERVER6), ("short", SERVER4), ("short", SERVER6))]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.running = False
        for thread in self.threads:
            thread.join()

    def run(self, kind, address):
        number = 0
        while self.running:
            life = {"kind": kind, "began": time.monotonic(), "versions": set(), "replies": 0,
                    "leaving": False, "ended": False}
            try:
                with Stream(self.net, address) as stream:
                    number = self.live(stream, kind, life, number)
            except (OSError, AssertionError) as error:
                self.errors.append(f"{kind}: {error!r}")
            life["until"] = time.monotonic()
            self.lives.append(life)

    def live(self, stream, kind, life, number):
        """One connection. Returns the number of the first request that is not answered."""
        while self.running:
            reply = stream.ask(ROWS[number % 300], request_id=number)
            if reply is None:
                life["ended"] = True
                return number
            assert reply.status == "ok" and reply.request_id == number, reply.status
            assert close_to(reply.floats(), ANSWERS[reply.version][number % 300])
            number += 1
            life["versions"].add(reply.version)
            life["replies"] += 1
            life["leaving"] |= bool(reply.flags & LEAVING)
            if kind != "deaf" and life["leaving"] or kind == "short" and life["replies"] == 3:
                return number
            time.sleep(self.pause_s)
        return number


ANSWERS = {version: reference(version) for version in (1, 2)}


def check_cutover(gateway, net, version):
    """Promotes `version` under load and holds every connection to the rules."""
    lost = gateway.counters()["tcp_lost"]
    with Load(net) as load:
        time.sleep(0.4)
        answer = gateway.verb("promote", "digits", str(version))
        flipped = time.monotonic()
        assert answer["ok"] and answer["changed"], answer
        wait_for("the old generation to be gone",
                 lambda: len(gateway.status()["generations"]) == 1)
        gone = time.monotonic()
        wait_for("new connections", lambda: sum(life["began"] > gone for life in load.lives) > 20)
    assert not load.errors, load.errors[:5]
    assert all(len(life["versions"]) <= 1 for life in load.lives)
    fresh = [life for life in load.lives if life["began"] > flipped and life["versions"]]
    assert len(fresh) > 20 and all(life["versions"] == {version} for life in fresh)
    old = [life for life in load.lives if life["began"] < flipped < life["until"]]
    assert {life["kind"] for life in old} >= {"patient", "deaf"}
    for life in old:
        assert life["until"] < gone + 1.5, life
        if life["kind"] != "short" and life["versions"] != {version}:
            assert life["leaving"] and (life["ended"] or life["kind"] != "deaf"), life
    assert gateway.counters()["tcp_lost"] == lost


def set_cookies(net, value):
    run(*net.command(net.gw, ["sh", "-c", f"echo {value} >/proc/sys/net/ipv4/tcp_syncookies"]))


def idle_connections_end(gateway, net):
    """One that says nothing is closed when its worker leaves."""
    stream = Stream(net)
    wait_for("the connection to be accepted", lambda: connections(gateway) == 1)
    gateway.verb("promote", "digits", "2")
    assert stream.receive() is None
    stream.__exit__()


def killed_workers(gateway, net):
    """Connections end with their worker, new ones find the next."""
    with Stream(net) as stream:
        assert stream.ask(ROWS[0]).status == "ok"
        os.kill(gateway.workers()[0]["pid"], signal.SIGKILL)
        assert stream.ended()
    with Stream(net) as stream:  # its SYN may be repeated after a second
        assert stream.ask(ROWS[0]).status == "ok"
    wait_for("a new worker", lambda: len(gateway.workers()) == 1)


def cutovers():
    repository = Repository()
    repository.publish(1)
    repository.publish(2)
    with Net() as net, Gateway(net, repository, *LISTEN, "--flow-idle", "200ms", "--policy",
                               "manual", "--drain-deadline", "1s") as gateway:
        if gateway.live() != {"digits": 1}:
            gateway.verb("promote", "digits", "1")
            wait_for("one generation", lambda: len(gateway.status()["generations"]) == 1)
        check_cutover(gateway, net, 2)
        set_cookies(net, 2)
        check_cutover(gateway, net, 1)
        idle_connections_end(gateway, net)
        killed_workers(gateway, net)
        wait_for("all connections to be closed", lambda: connections(gateway) == 0)


def nobody_serves():
    """No answer at all, counted; and whoever waits gets in when somebody serves."""
    repository = Repository()
    with Net() as net, Gateway(net, repository, *LISTEN, ready=False) as gateway:
        wait_for("the gateway to be up", lambda: os.path.exists(gateway.socket) and
                 "counters" in gateway.status(check=False))
        try:
            Stream(net, timeout_s=0.3)
            raise AssertionError("somebody answered")
        except socket.timeout:
            pass
        assert gateway.counters()["tcp_drop_no_slot"] >= 1
        started = []
        thread = threading.Thread(target=lambda: started.append(Stream(net, timeout_s=10)))
        thread.start()
        repository.publish(1)
        gateway.wait_live(1)
        thread.join()
        assert started[0].ask(ROWS[0]).status == "ok"
        started[0].__exit__()
        with Stream(net) as stream:
            assert stream.ask(ROWS[0]).status == "ok"


if __name__ == "__main__":
    main(served, cutovers, nobody_serves)
