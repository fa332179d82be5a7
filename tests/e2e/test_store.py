#!/usr/bin/env python3
"""A store that stops answering (a FUSE file system whose server does) hangs nobody that anybody waits
for: rollbacks, restarts and status go on, and when it answers again what is new is found."""

import json
import os
import signal
import socket
import tempfile
import time

import fuse
from harness import (Client, Gateway, Net, Repository, digits_rows, main, program, request, run,
                     wait_for)

ROW = digits_rows()[0]
LIMIT_S = 0.05  # that a rollback may take


def ask(gateway, verb, **more):
    """One request on the control socket -> (reply, seconds)."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(20)
        one.connect(gateway.socket)
        one.sendall(json.dumps({"verb": verb, **more}).encode() + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            data += one.recv(65536)
    return json.loads(data), time.monotonic() - began


def flip_to(gateway, net, version, verb="rollback"):
    """A promote or rollback takes effect at once, for whoever asks next."""
    more = {"version": version} if verb == "promote" else {}
    reply, took_s = ask(gateway, verb, model="digits", **more)
    assert reply["ok"] and reply["version"] == version, reply
    took_s -= reply.get("flip_us", 0) / 1e6  # the kernel's: a grace period takes as long as it takes
    assert took_s < LIMIT_S, (verb, took_s, reply)
    with Client(net) as client:
        assert client.ask(request(ROW)).version == version


def silent(gateway):
    return [one["path"] for one in gateway.status()["store"]["silent"]]


def wait_silent(gateway, path):
    wait_for("status to say that the store does not answer", lambda: path in silent(gateway), 12)


def children(pid, name):
    """Processes of that name below `pid`."""
    found = run("ps", "--ppid", str(pid), "-o", "pid=,comm=", check=False).stdout.split()
    return [int(pid) for pid, comm in zip(found[::2], found[1::2]) if comm == name]


def scouts(gateway):
    return children(gateway.status()["control_pid"], "flipgate-scout")


def live_worker(gateway):
    status = gateway.status()
    live = [one["id"] for one in status["generations"] if one["phase"] == "live"]
    return next((one["pid"] for one in status["workers"] if one["generation"] == live[0] and
                 one["phase"] == "ready"), 0)


def workers_are_replaced(gateway, net):
    """One that was killed, and one that hangs."""
    for signo in (signal.SIGKILL, signal.SIGSTOP):
        pid = live_worker(gateway)
        os.kill(pid, signo)
        wait_for("another worker", lambda: live_worker(gateway) not in (0, pid), 10)
        wait_for("it to be dead", lambda: not os.path.exists(f"/proc/{pid}"), 10)
        with Client(net) as client:
            assert wait_for("an answer", lambda: client.ask(request(ROW), 0.2), 5).status == "ok"


def refused_at_once(gateway, store):
    """What would have to be read from there, because no worker holds it any more."""
    held = [one for one in gateway.status()["generations"] if one["phase"] == "kept"]
    assert len(held) == 1, held
    slots = [one["pid"] for one in gateway.status()["workers"] if one["slot"] in held[0]["slots"]]
    os.kill(slots[0], signal.SIGKILL)
    wait_for("its generation to end", lambda: len(gateway.status()["generations"]) == 1)
    reply, took_s = ask(gateway, "promote", model="digits", version=2)
    assert reply["code"] == "failed" and f"{store.path} does not answer" in reply["error"], reply
    assert took_s < LIMIT_S, took_s


class Store(fuse.Mount):
    """A repository in a file system that can hang."""

    def __init__(self, *versions):
        self.repository = Repository()
        for version in versions:
            self.repository.publish(version, source=source(version))
        super().__init__(self.repository.path)

    def publish(self, version, **more):
        self.repository.publish(version, source=source(version), **more)


def source(version):
    return os.path.join(os.path.dirname(__file__), "../data/digits", str(2 - version % 2))


def a_store_that_hangs():
    with Store(1) as store, Net() as net, Gateway(net, store, "--keep", "60s") as gateway:
        store.publish(2)
        gateway.wait_live(2)
        store.set(fuse.HANGS)
        for _ in range(60):  # whatever the look that hangs is doing just then
            flip_to(gateway, net, 1)
            flip_to(gateway, net, 2, "promote")
            time.sleep(0.1)
        wait_silent(gateway, store.path)
        assert f'event=store.silent path="{store.path}"' in gateway.log()
        workers_are_replaced(gateway, net)
        wait_for("another scout", lambda: len(scouts(gateway)) == 2, 15)
        status = gateway.status()
        assert status["ready"] and status["store"]["silent"][0]["since_s"] > 5, status["store"]
        assert [one["version"] for one in status["models"][0]["versions"]] == [1, 2]
        os.kill(status["control_pid"], signal.SIGKILL)
        wait_for("another control", lambda: gateway.status(check=False).get(
            "control_restarts") == status["control_restarts"] + 1)
        assert [one["version"] for one in gateway.status()["models"][0]["versions"]] == [1, 2]
        flip_to(gateway, net, 1)
        store.publish(3)
        wait_silent(gateway, store.path)
        refused_at_once(gateway, store)
        store.set(fuse.ANSWERS)
        gateway.wait_live(3)
        assert silent(gateway) == [] and "event=store.answers" in gateway.log()
        wait_for("one scout again", lambda: len(scouts(gateway)) == 1, 5)


def one_of_two_places():
    """The others are looked at as ever; and a reload can do without the one that hangs."""
    with Store(1) as store, Net() as net, tempfile.TemporaryDirectory(prefix="fgt-config-") as folder:
        near = Repository()
        near.publish(1, model="near")
        config = os.path.join(folder, "models.yaml")
        one = f"models:\n- name: near\n  path: {near.path}/near\n"
        both = f"{one}- name: digits\n  path: {store.path}/digits\n"
        write(config, both)
        with Gateway(net, near, "--models-config", config) as gateway:
            store.set(fuse.HANGS)
            wait_silent(gateway, f"{store.path}/digits")
            near.publish(2, model="near")
            gateway.wait_live(2, model="near")
            assert gateway.live() == {"digits": 1, "near": 2}, gateway.live()
            other = (both + "- name: other\n  path: /nowhere\n").replace("digits", "moved", 1)
            write(config, other)
            reply, took_s = ask(gateway, "reload")
            assert reply["code"] == "failed" and took_s < 5, reply
            assert f"{store.path}/digits does not answer" in reply["error"], reply
            assert gateway.live() == {"digits": 1, "near": 2}, gateway.live()
            write(config, one)
            reply, took_s = ask(gateway, "reload")
            assert reply["ok"] and took_s < 3, (took_s, reply)
            assert silent(gateway) == [], "nobody wants it any more"


def write(path, text):
    with open(path + ".tmp", "w") as file:
        file.write(text)
    os.rename(path + ".tmp", path)


def the_configuration_hangs():
    repository = Repository()
    repository.publish(1)
    with tempfile.TemporaryDirectory(prefix="fgt-config-") as folder, fuse.Mount(folder) as mount:
        os.chmod(folder, 0o755)
        write(os.path.join(folder, "models.yaml"), "models:\n- name: digits\n")
        path = os.path.join(mount.path, "models.yaml")
        with Net() as net, Gateway(net, repository, "--keep", "60s", "--models-config",
                                   path) as gateway:
            repository.publish(2)
            gateway.wait_live(2)
            mount.set(fuse.HANGS)
            wait_silent(gateway, path)
            reply, took_s = ask(gateway, "reload")
            assert reply["code"] == "failed" and "does not answer" in reply["error"], reply
            assert path in reply["error"] and took_s < 4, (took_s, reply)
            flip_to(gateway, net, 1)
            workers_are_replaced(gateway, net)
            repository.publish(3, source=source(3))  # of another place
            gateway.wait_live(3)
            write(os.path.join(folder, "models.yaml"),
                  "models:\n- name: digits\n  policy: manual\n")
            mount.set(fuse.ANSWERS)
            wait_for("the change to be found", lambda: gateway.status()["rules"]["models"][0][
                "policy"] == "manual")
            assert ask(gateway, "reload")[0]["ok"]


def a_packer_hangs():
    """Where it opens the directory: it holds nothing then that others wait for."""
    with Store(1) as store, Net() as net, Gateway(net, store, "--keep", "60s") as gateway:
        store.publish(2)
        gateway.wait_live(2)
        store.set(fuse.HANGS_FOR_PACKERS)
        store.publish(3)
        wait_for("a packer", lambda: [one["state"] for one in gateway.status()["models"][0][
            "versions"]] == ["kept", "live", "packing"], 15)
        keeper = gateway.status()["keeper_pid"]
        packers = [pid for pid in children(keeper, "flipgated") if os.path.exists(f"/proc/{pid}")]
        assert len(packers) == 1, packers
        links = [os.readlink(f"/proc/{packers[0]}/fd/{fd}")
                 for fd in os.listdir(f"/proc/{packers[0]}/fd") if int(fd) > 2]
        assert sorted(link[:6] for link in links) == ["/memfd", "pipe:["], links
        os.kill(packers[0], signal.SIGKILL)
        flip_to(gateway, net, 1)
        workers_are_replaced(gateway, net)
        assert packers[0] in children(keeper, "flipgated"), "it cannot even be killed"
        assert gateway.live() == {"digits": 1} and gateway.stop() == 0
        store.set(fuse.ANSWERS)


def a_scout_that_ends_or_stops():
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        (scout,) = scouts(gateway)
        has_few_rights(scout)
        os.kill(scout, signal.SIGKILL)
        repository.publish(2)
        gateway.wait_live(2, timeout_s=5)
        (scout,) = scouts(gateway)
        os.kill(scout, signal.SIGSTOP)
        repository.publish(3, source=source(3))
        gateway.wait_live(3, timeout_s=25)
        assert scouts(gateway) != [scout] and silent(gateway) == [], scouts(gateway)
        (scout,) = scouts(gateway)
        os.kill(gateway.status()["control_pid"], signal.SIGKILL)
        wait_for("it to end with control", lambda: not os.path.exists(f"/proc/{scout}"))


def has_few_rights(pid):
    """One capability, its socket, inotify and nothing of what others share."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    for name, value in (("CapPrm", 1 << 2), ("CapEff", 1 << 2), ("CapInh", 0), ("CapBnd", 0)):
        assert int(fields[name], 16) == value, (name, fields[name])  # DAC_READ_SEARCH
    assert fields["NoNewPrivs"].strip() == "1" and fields["Seccomp"].strip() == "2", fields
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")
             if int(fd) > 2]
    assert sorted(link.split(":")[0] for link in links) == ["anon_inode", "socket"], links
    with open(f"/proc/{pid}/maps") as file:
        maps = file.readlines()
    assert len([line for line in maps if line.split()[1][3] == "s"]) == 1, "its page alone"


if __name__ == "__main__":
    main(a_scout_that_ends_or_stops, a_store_that_hangs, one_of_two_places, the_configuration_hangs,
         a_packer_hangs)
