#!/usr/bin/env python3
"""Models that want all the memory or all the time: what serves goes on, and others have their turn."""

import contextlib
import os
import re
import shutil
import socket
import tempfile
import time

from bombs import hungry, large, slow
from harness import (PORT, SERVER4, Gateway, Net, Repository, load_end, load_start, main, request,
                     run, wait_for)

LIMIT = 640 << 20


def write(path, value):
    with open(path, "w") as file:
        file.write(str(value))


def read(path):
    with open(path) as file:
        return file.read()


class Cgroup:
    """A memory cgroup with a limit, v2 where its controller is there, else v1; or none."""

    def __init__(self, limit):
        base, name = "/sys/fs/cgroup", f"fgt-{os.getpid()}"
        two = os.path.exists(f"{base}/cgroup.controllers")
        self.path = f"{base}/{name}" if two else f"{base}/memory/{name}"
        self.events = "memory.events" if two else "memory.oom_control"
        self.limit, self.file = limit, "memory.max" if two else "memory.limit_in_bytes"

    def __enter__(self):
        with contextlib.suppress(OSError):
            os.mkdir(self.path)
        try:
            write(f"{self.path}/{self.file}", self.limit)
        except OSError:
            self.path = None
        return self

    def __exit__(self, *exc):
        if self.path:
            wait_for("the cgroup to be empty", lambda: not read(f"{self.path}/cgroup.procs"))
            os.rmdir(self.path)

    def take(self, gateway):
        """What the gateway is started with runs in here."""
        if self.path:
            gateway.argv = ["sh", "-c", 'echo $$ > "$0" && exec "$@"',
                            f"{self.path}/cgroup.procs", *gateway.argv]
        else:
            gateway.argv += ["--memory", str(self.limit)]
        return gateway

    def kills(self):
        if not self.path:
            return 0
        lines = dict(line.split() for line in read(f"{self.path}/{self.events}").splitlines())
        return int(lines["oom_kill"])


def states(gateway):
    """{model: (state of its newest version, error)}"""
    return {model["model"]: (model["versions"][-1]["state"], model["versions"][-1]["error"])
            for model in gateway.status()["models"] if model["versions"]}


def decided(gateway, names):
    found = states(gateway)
    return all(found.get(name, ("", ""))[0] in ("live", "failed") for name in names) and found


def packers():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if read(f"/proc/{pid}/comm").strip() == "flipgate-pack":
                found.append(int(pid))
    return found


def score(pid):
    return int(read(f"/proc/{pid}/oom_score_adj"))


def memory_is_kept_to():
    """Eleven files of under 1 KB become plans of 48 MiB, in a cgroup with a tenth of that to spare."""
    names = [f"large{i:02}" for i in range(11)]
    with Net() as net, Cgroup(LIMIT) as cgroup:
        repository = Repository()
        repository.publish(1)
        with cgroup.take(Gateway(net, repository)) as gateway:
            process = load_start(net, "--rate", "200", "--duration", "25")
            for i, name in enumerate(names):
                data = large(3, i)
                assert len(data) < 1024, len(data)
                repository.write(1, {"model.onnx": data}, name)
            found = wait_for("each model to be live or refused",
                             lambda: decided(gateway, names), 60)
            loaded = load_end(process)
            assert loaded["lost"] == 0 and loaded["requests"] > 4000, loaded
            refused = [name for name in names if found[name][0] == "failed"]
            assert 4 <= len(refused) <= 9, found
            for name in refused:
                assert found[name][1].startswith("out of memory: "), found[name]
                assert f"of {LIMIT >> 20} MiB, beside " in found[name][1], found[name]
            assert all(worker["deaths"] == 0 for worker in gateway.workers())
            assert cgroup.kills() == 0
            memory = gateway.status()["memory"]
            assert memory["limit_bytes"] == LIMIT, memory
            assert sum(memory.values()) - LIMIT <= LIMIT, memory


def packers_are_killed_first():
    with Net() as net:
        repository = Repository()
        repository.publish(1)
        with Gateway(net, repository) as gateway:
            before = packers()
            repository.write(1, {"model.onnx": slow(30)}, "slow")
            (pid,) = wait_for("a packer", lambda: set(packers()) - set(before))
            wait_for("its score", lambda: score(pid) == 1000)
            status = gateway.status()
            others = [status["keeper_pid"], status["control_pid"],
                      *(worker["pid"] for worker in gateway.workers())]
            assert len(others) >= 3
            scores = {score(pid) for pid in others}
            assert len(scores) == 1 and scores.pop() < 1000


def slow_ones_delay_nobody():
    """Four models that take minutes to pack, and good ones beside them, at a start and after it."""
    with Net() as net:
        repository = Repository()
        for i in range(4):
            repository.write(1, {"model.onnx": slow(30)}, f"bad{i}")
        repository.publish(1)
        began = time.monotonic()
        with Gateway(net, repository) as gateway:
            took_s = time.monotonic() - began
            assert gateway.live() == {"digits": 1}
            assert took_s < 8, took_s
            wait_for("the others to run for long", lambda: len(packers()) >= 4)
            time.sleep(5)
            began = time.monotonic()
            repository.publish(2)
            gateway.wait_live(2)
            took_s = time.monotonic() - began
            assert took_s < 5, took_s
            print(f"# version 2 of a serving model: {took_s:.1f} s")


def sockets_hold_little():
    """Clients that pipeline and never read: what the kernel keeps for them on our side is bounded."""
    rows = 60
    message = request(bytes(256 * rows), rows=rows)
    data = (len(message).to_bytes(4, "little") + message) * 40
    with Net() as net, contextlib.ExitStack() as stack:
        repository = Repository()
        repository.publish(1)
        stack.enter_context(Gateway(net, repository, "--listen-tcp", f"{SERVER4}:{PORT}"))
        clients = []
        with net.inside(net.cl):
            for _ in range(30):
                clients.append(stack.enter_context(socket.create_connection((SERVER4, PORT))))
        left = {client: data for client in clients}
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for client in clients:
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    left[client] = left[client][client.send(left[client]):] or data
        said = run(*net.command(net.gw, ["ss", "-tnmH", "state", "established"])).stdout
        found = re.findall(r"skmem:\(r(\d+),rb(\d+),t\d+,tb(\d+),f\d+,w(\d+),", said)
        assert len(found) == 30, said
        for received, most_received, most_sent, sent in (map(int, one) for one in found):
            assert most_received <= 128 << 10 and most_sent <= 64 << 10, said
            assert received <= 160 << 10 and sent <= 128 << 10, said


def workers_are_bounded():
    """A file of some hundred bytes takes as much as there is to run: refused, before the kernel has to."""
    with Net() as net:
        repository = Repository()
        repository.publish(1)
        with Gateway(net, repository, "--memory", "1000M", "--cpus", "0,1", "--max-row",
                     "1s") as gateway:
            data = hungry(6)
            assert len(data) < 1024, len(data)
            repository.write(1, {"model.onnx": data}, "hungry")
            state, error = wait_for("the model to be live or refused",
                                    lambda: decided(gateway, ["hungry"]), 30)["hungry"]
            assert state == "failed" and "no memory" in error, (state, error)
            assert gateway.live() == {"digits": 1}


def what_served_comes_first_again():
    """After a kill: nine models that take minutes are packed behind the one that served, and its own
    newest version is one of these, too."""
    with Net() as net:
        repository = Repository()
        repository.publish(1)
        with tempfile.TemporaryDirectory(prefix="fgt-state-") as state:
            first = Gateway(net, repository, "--state-dir", state)
            with first as gateway:
                assert gateway.live() == {"digits": 1}
                gateway.process.kill()
                gateway.process.wait()
                shutil.rmtree(first.pins, ignore_errors=True)
            assert read(f"{state}/default.served").split("\n")[1].startswith("digits 1 0 0 live ")
            for i in range(9):
                repository.write(1, {"model.onnx": slow(30)}, f"bad{i}")
            repository.write(2, {"model.onnx": slow(30)})
            began = time.monotonic()
            with Gateway(net, repository, "--state-dir", state) as gateway:
                took_s = time.monotonic() - began
                assert gateway.live() == {"digits": 1}
                assert took_s < 6, took_s
                print(f"# served again after {took_s:.1f} s")


if __name__ == "__main__":
    main(memory_is_kept_to, packers_are_killed_first, slow_ones_delay_nobody, sockets_hold_little,
         workers_are_bounded,
         what_served_comes_first_again)
