#!/usr/bin/env python3
"""A planned restart: `flipgated --replace` takes the traffic of the gateway that runs, whatever differs
between the two, and nothing is lost; what is not as good lets the other one serve on."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time

from harness import (PORT, SERVER4, SERVER6, Client, Gateway, Net, Repository, close_to,
                     digits_rows, load_end, load_start, main, program, reference, request, wait_for)

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


def slow_packer(repository, seconds):
    path = os.path.join(repository.path, "slow-packer")
    with open(path, "w") as file:
        file.write(f"#!/bin/sh\nsleep {seconds}\nexec {program('flipgate-pack')} \"$@\"\n")
    os.chmod(path, 0o755)
    return path


def refused(successor):
    """It ends at once, and says why."""
    done = subprocess.run(successor.net.command(successor.net.gw, successor.argv),
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 2, (done.returncode, done.stderr)
    return done.stderr


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
    slow = slow_packer(repository, 60)
    with Net() as net, Gateway(net, repository, *TCP) as gateway:
        process = load_start(net, "--rate", "1000", "--duration", "5", "--sleep")
        for how in (signal.SIGTERM, signal.SIGKILL):
            with Successor(gateway, repository, *TCP, "--packer", slow) as successor:
                successor.beside()
                time.sleep(0.3)
                assert "another flipgated is about to replace" in refused(successor)
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


def one_whose_predecessor_is_killed_serves_what_it_can():
    """Also where a model does not load: that one nobody serves any more, the others it does."""
    repository = published(1)
    repository.publish(1, model="other")
    with Net() as net, Gateway(net, repository, *TCP) as gateway:
        wait_for("both models", lambda: len(gateway.live()) == 2)
        # That may pass, so it waits for it as long as the other one lives.
        os.chmod(os.path.join(repository.path, "other", "1", "model.onnx"), 0)
        with Successor(gateway, repository, *TCP, "--packer",
                       slow_packer(repository, 1)) as successor:
            wait_for("the failure", lambda: "event=pack.failed model=other" in successor.log())
            time.sleep(0.5)
            gateway.process.kill()
            gateway.process.wait()
            wait_for("it to serve", lambda: successor.is_ready() and answers(net))
            assert successor.live() == {"digits": 1}
            in_mode(successor, "native")
            by_xdp(net, successor)


def one_that_does_not_end_is_told_of():
    repository = published(1)
    with Net() as net, Gateway(net, repository, *TCP) as gateway:
        gateway.process.send_signal(signal.SIGSTOP)
        process = load_start(net, "--rate", "1000", "--duration", "8", "--sleep")
        with Successor(gateway, repository, *TCP, "--drain-deadline", "1s") as successor:
            wait_for("it to say so", lambda: "event=replace.late" in successor.log(), 20)
            gateway.process.kill()
            gateway.process.wait()
            in_mode(successor, "native")
            by_xdp(net, successor)
            unharmed(load_end(process), 8000)


def its_addresses_are_checked():
    """What the other one does not listen at must be there and free, and no wildcard against one."""
    repository = published(1)
    other = f"{SERVER4}:{PORT + 1}"
    with Net() as net, Gateway(net, repository, "--listen-tcp", f"{SERVER4}:{PORT}") as gateway:
        process = load_start(net, "--rate", "1000", "--duration", "8", "--sleep")

        def said(*args, listen=None):
            return refused(Successor(gateway, repository, *args, listen=listen))

        assert "no interface has this address" in said(listen=[f"10.99.0.99:{PORT}"])
        assert "no interface has this address" in said("--listen-tcp", f"10.99.0.99:{PORT}")
        for kind, flag in ((socket.SOCK_DGRAM, "--listen"), (socket.SOCK_STREAM, "--listen-tcp")):
            with net.inside(net.gw), socket.socket(socket.AF_INET, kind) as theirs:
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                theirs.bind((SERVER4, PORT + 1))
                if kind == socket.SOCK_STREAM:
                    theirs.listen()
                assert "another program has this port" in said(flag, other)
        for listen in (f"0.0.0.0:{PORT}", f"[::]:{PORT}"):
            assert "at a single address, and this one at all" in said(listen=[listen])
        assert "at a single address, and this one at all" in said("--listen-tcp", f"0.0.0.0:{PORT}")
        unharmed(load_end(process), 8000)
        with Successor(gateway, repository, "--listen", other) as successor:
            successor.alone()
            in_mode(successor, "native")
            by_xdp(net, successor)


def a_single_address_against_a_wildcard():
    repository = published(1)
    with Net() as net, Gateway(net, repository, listen=[f"0.0.0.0:{PORT}"]) as gateway:
        text = refused(Successor(gateway, repository, listen=[f"{SERVER4}:{PORT}"]))
        assert "at all addresses, and this one at a single one" in text, text
        with Successor(gateway, repository, listen=[f"0.0.0.0:{PORT}"]) as successor:
            successor.alone()
            in_mode(successor, "native")
            by_xdp(net, successor)


def it_must_know_what_serves():
    """Under another name it would begin with the newest of everything."""
    repository = published(1, 2)
    with Net() as net, Gateway(net, repository) as gateway:
        text = refused(Successor(gateway, repository, "--name", "other"))
        assert "other.served" in text and "serves on" in text, text
        assert answers(net, 2)


def what_is_chosen_meanwhile_holds():
    """The other one obeys operators until it is replaced."""
    repository = published(1)
    slow = slow_packer(repository, 3)
    with Net() as net, Gateway(net, repository, "--keep", "60s") as gateway:
        repository.publish(2)
        gateway.wait_live(2)
        with Successor(gateway, repository, "--packer", slow) as successor:
            successor.beside()
            time.sleep(1)
            gateway.verb("rollback", "digits")
            gateway.wait_live(1)
            successor.alone()
            assert successor.live() == {"digits": 1} and answers(net, 1)
            time.sleep(1)
            assert successor.live() == {"digits": 1}


def other_files_under_one_number_are_told_of():
    repository = published(1)
    with Net() as net, Gateway(net, repository, "--settle", "0s") as gateway:
        repository.publish(2)
        gateway.wait_live(2)
        path = os.path.join(repository.path, "digits", "2", "model.onnx")
        shutil.copy(os.path.join(repository.path, "digits", "1", "model.onnx"), path)
        os.remove(os.path.join(repository.path, "digits", "2", "golden.json"))
        wait_for("it to be seen", lambda: "event=version.differs" in gateway.log())
        with Successor(gateway, repository, "--settle", "0s") as successor:
            successor.alone()
            assert "event=served.differs model=digits version=2" in successor.log()


def the_live_table_is_pinned():
    """Or connections of a worker that is killed do not move."""
    repository = published(1)
    with Net() as net, Gateway(net, repository, *TCP, mode="sockets") as gateway:
        with Successor(gateway, repository, *TCP, mode="sockets") as successor:
            successor.alone()
            wait_for("the table's pin",
                     lambda: os.path.exists(os.path.join(successor.pins, "table-0")))
            assert answers(net)


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
     one_whose_predecessor_is_killed_serves_what_it_can, one_that_does_not_end_is_told_of,
     its_addresses_are_checked, a_single_address_against_a_wildcard, it_must_know_what_serves,
     what_is_chosen_meanwhile_holds, other_files_under_one_number_are_told_of,
     the_live_table_is_pinned,
     a_choice_outlives_it, the_other_network_is_refused, another_daemon_is_left_alone)
