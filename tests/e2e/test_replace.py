#!/usr/bin/env python3
"""A planned restart: `flipgated --replace` takes the traffic of the gateway that runs, whatever differs
between the two, and nothing is lost; what is not as good lets the other one serve on."""

import contextlib
import os
import signal
import socket
import subprocess
import time

from harness import (PORT, SERVER4, SERVER6, Client, Gateway, Net, Repository, close_to,
                     digits_rows, load_end, load_start, main, reference, request, wait_for)

ROW = digits_rows()[0]
TCP = ("--listen-tcp", f"{SERVER4}:{PORT}", "--listen-tcp", f"[{SERVER6}]:{PORT}")


def published(*versions):
    repository = Repository()
    for version in versions or (1,):
        repository.publish(version)
    return repository


class Successor(Gateway):
    """Another gateway at the control socket and the pins of `before`, which must end after it."""

    def __init__(self, before, repository, *args, **options):
        super().__init__(before.net, repository, "--replace", *args, ready=False, **options)
        for flag, path in (("--socket", before.socket), ("--pin-dir", before.pins)):
            self.argv[self.argv.index(flag) + 1] = path
        self.before, self.socket, self.pins = before, before.socket, before.pins

    def alone(self):
        """Waits until it has taken over, and the other one has ended politely."""
        wait_for("the successor to have taken over",
                 lambda: self.is_ready() and self.status()["keeper_pid"] == self.process.pid, 30)
        assert self.before.process.wait(30) == 0, self.before.log()
        wait_for("the word that it is done", lambda: "event=replace.done" in self.log())

    def beside(self):
        """Waits until it has begun: its own control socket answers."""
        wait_for("the successor to begin", lambda: "event=replace.begin" in self.log())


def answers(net, version=1, address=SERVER4):
    with Client(net, address) as client:
        reply = client.ask(request(ROW))
        return bool(reply and reply.status == "ok" and
                    close_to(reply.floats(), reference(version)[0]))


def in_mode(gateway, mode):
    """Serves in that mode, by workers that have what it takes."""
    def settled():
        status = gateway.status()
        phases = [generation["phase"] for generation in status["generations"]]
        return status["mode"] == mode and phases == ["live"]
    wait_for(f"mode {mode}", settled, 30)


def unharmed(report, least):
    assert report["requests"] >= least and report["replies"] == report["requests"], report
    assert not report["lost"] and not report["wrong_outputs"], report
    assert not {k: v for k, v in report["errors"].items() if v and k != "ok"}, report["errors"]


def by_xdp(net, gateway):
    before = gateway.counters()["xdp_steered"]
    assert answers(net)
    assert gateway.counters()["xdp_steered"] == before + 1


def under_load(mode, after, *changes):
    """Both protocols are loaded while one gateway takes the place of another, and again."""
    repository = published()
    with Net() as net, contextlib.ExitStack() as stack:
        gateway = stack.enter_context(Gateway(net, repository, *TCP, mode=mode))
        loads = [load_start(net, "--rate", "2000", "--duration", "12", "--flow-requests", "500",
                            "--sleep", address=address)
                 for address in (f"{SERVER4}:{PORT}", f"tcp://{SERVER4}:{PORT}")]
        for change in (changes, ()):
            time.sleep(1)
            gateway = stack.enter_context(Successor(gateway, repository, *TCP, *change,
                                                    mode=after if change else mode))
            gateway.alone()
            in_mode(gateway, after if change else mode)
        reports = [load_end(process) for process in loads]
        for report in reports:
            unharmed(report, 20000)
        assert os.path.exists(os.path.join(gateway.pins, "live"))
        if mode != "sockets":
            by_xdp(net, gateway)


def native_under_load():
    under_load("native", "native", "--buckets-log2", "12", "--frames", "2048", "--flow-idle", "300ms")


def modes_may_change():
    under_load("generic", "sockets", "--max-batch", "16", "--poll", "busy")


def what_is_not_as_good_changes_nothing():
    """A model that serves and cannot be loaded by the new one; a wrong model beside it may well be."""
    repository = published(1)
    repository.publish(1, model="other")
    with Net() as net, Gateway(net, repository, *TCP) as gateway:
        wait_for("both models", lambda: len(gateway.live()) == 2)
        broken = os.path.join(repository.path, "other", "1", "model.onnx")
        with open(broken, "wb") as file:
            file.write(b"no model")
        process = load_start(net, "--rate", "1000", "--duration", "4", "--sleep")
        with Successor(gateway, repository, *TCP) as successor:
            assert successor.process.wait(20) == 2
            log = successor.log()
            assert "model other, version 1, which serves now" in log and "serves on" in log, log
        unharmed(load_end(process), 4000)
        status = gateway.status()
        assert status["keeper_pid"] == gateway.process.pid and status["mode"] == "native"
        assert os.path.exists(os.path.join(gateway.pins, "table-0"))
        assert not os.path.exists(gateway.socket + ".next")
        by_xdp(net, gateway)
        os.rename(os.path.dirname(broken), os.path.join(repository.path, "gone"))
        with Successor(gateway, repository, *TCP) as successor:
            assert successor.process.wait(20) == 2
            assert "not on disk any more" in successor.log(), successor.log()
        assert answers(net)


def one_that_is_killed_early_changes_nothing():
    repository = published(1)
    slow = os.path.join(repository.path, "slow-packer")
    with open(slow, "w") as file:
        file.write("#!/bin/sh\nsleep 60\n")
    os.chmod(slow, 0o755)
    with Net() as net, Gateway(net, repository, *TCP) as gateway:
        process = load_start(net, "--rate", "1000", "--duration", "5", "--sleep")
        for how in (signal.SIGTERM, signal.SIGKILL):
            with Successor(gateway, repository, *TCP, "--packer", slow) as successor:
                successor.beside()
                time.sleep(0.3)
                other = subprocess.run(net.command(net.gw, successor.argv), capture_output=True,
                                       text=True, timeout=30)
                assert other.returncode == 2 and ".next" in other.stderr, other.stderr
                successor.process.send_signal(how)
                successor.process.wait(20)
        unharmed(load_end(process), 5000)
        assert gateway.process.poll() is None and answers(net)
        with Successor(gateway, repository, *TCP) as successor:  # in spite of what SIGKILL left
            successor.alone()
            in_mode(successor, "native")
            by_xdp(net, successor)


def one_whose_predecessor_is_killed_serves():
    """The other one dies in the middle: then this one is all there is, as soon as it can be."""
    repository = published(1)
    with Net() as net, Gateway(net, repository, *TCP) as gateway:
        with Successor(gateway, repository, *TCP) as successor:
            successor.beside()
            gateway.process.kill()
            gateway.process.wait()
            wait_for("it to serve", successor.is_ready)
            in_mode(successor, "native")
            by_xdp(net, successor)
            wait_for("its pins", lambda: os.path.exists(os.path.join(successor.pins, "live")))


def a_choice_outlives_it():
    """What was rolled back from does not come back with a restart, planned or not."""
    repository = published(1)
    with Net() as net, contextlib.ExitStack() as stack:
        log = os.path.join(repository.path, "audit.log")
        gateway = stack.enter_context(Gateway(net, repository, "--keep", "60s"))
        repository.publish(2)
        gateway.wait_live(2)
        gateway.verb("rollback", "digits")
        gateway.wait_live(1)
        successor = stack.enter_context(Successor(gateway, repository, "--policy", "manual",
                                                  "--audit-log", log))
        successor.alone()
        assert '"what":"replace"' in open(log).read()
        assert successor.live() == {"digits": 1} and answers(net, 1)
        successor.process.send_signal(signal.SIGTERM)
        assert successor.process.wait(20) == 0
        again = stack.enter_context(Successor(successor, repository))
        wait_for("an ordinary start", again.is_ready)
        assert "ordinary start" in again.log()
        time.sleep(1)
        assert again.live() == {"digits": 1}
        repository.publish(3, source=os.path.join(repository.path, "digits", "2"))
        again.wait_live(3)


def the_other_network_is_refused():
    repository = published(1)
    with Net() as net, Gateway(net, repository) as gateway:
        argv = Successor(gateway, repository).argv
        other = subprocess.run(net.command(net.cl, argv), capture_output=True, text=True, timeout=30)
        assert other.returncode == 2 and "another network namespace" in other.stderr, other.stderr
        assert answers(net)


def another_daemon_is_left_alone():
    """A wrong --socket may be anybody's: nobody is told to stop who is no flipgated."""
    repository = published(1)
    with Net() as net, Gateway(net, repository) as gateway:
        successor = Successor(gateway, repository)
        path = os.path.join(repository.path, "other.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            successor.argv[successor.argv.index("--socket") + 1] = path
            other = subprocess.run(net.command(net.gw, successor.argv), capture_output=True,
                                   text=True, timeout=30)
        assert other.returncode == 2 and "no flipgated" in other.stderr, other.stderr
        assert answers(net)


main(native_under_load, modes_may_change, what_is_not_as_good_changes_nothing,
     one_that_is_killed_early_changes_nothing, one_whose_predecessor_is_killed_serves,
     a_choice_outlives_it, the_other_network_is_refused, another_daemon_is_left_alone)
