#!/usr/bin/env python3
"""What an operator does to one running gateway: each verb twice, compare-and-set, the audit log, also
on a full disk, reloads good and bad, SIGHUP, and another program that takes control over."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from harness import (DIGITS, Client, Gateway, Net, Repository, digits_rows, load_end, load_start, main,
                     program, request, run, wait_for)

MANUAL = "models:\n- name: digits\n  policy: manual\n"
NOBODY = 65534
ROW = digits_rows()[0]


class Disk:
    """A file system of 64 KiB."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="fgt-disk-")
        run("mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", self.path)
        return self

    def __exit__(self, *exc):
        run("umount", "-l", self.path)
        os.rmdir(self.path)

    def fill(self):
        with open(os.path.join(self.path, "filler"), "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 512)
            except OSError:
                pass

    def empty(self):
        os.unlink(os.path.join(self.path, "filler"))


def talk(address, **more):
    """One request on the control socket; None: the connection ended without a reply."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(20)
        one.connect(address)
        one.sendall(json.dumps(more).encode() + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            more = one.recv(65536)
            if not more:
                return None
            data += more
    return json.loads(data)


class Operator:
    """The gateway that all tests share, and what they ask of it."""

    def __init__(self, gateway, net, repository, disk, config):
        self.gateway, self.net, self.repository = gateway, net, repository
        self.disk, self.config = disk, config
        self.log = os.path.join(disk.path, "audit.log")

    def ask(self, verb, **more):
        return talk(self.gateway.socket, verb=verb, **more)

    def do(self, verb, **more):
        reply = self.ask(verb, **more)
        assert reply and reply["ok"], (verb, more, reply)
        return reply

    def refuse(self, code, verb, **more):
        reply = self.ask(verb, **more)
        assert reply and not reply["ok"] and reply["code"] == code, (verb, more, reply)
        return reply

    def status(self):
        return self.do("status")

    def steady(self):
        """What must not change under what changes nothing."""
        status = self.status()
        live = [g for g in status["generations"] if g["phase"] == "live"]
        return (live[0]["id"], status["flips"]["count"],
                sorted(w["pid"] for w in status["workers"] if w["slot"] in live[0]["slots"]))

    def live(self):
        """The version that serves by default."""
        return self.status()["models"][0]["live"]

    def lines(self):
        with open(self.log) as file:
            return [json.loads(line) for line in file]

    def configure(self, text):
        with open(self.config + ".tmp", "w") as file:
            file.write(text)
        os.rename(self.config + ".tmp", self.config)


def twice(operator, verb, **more):
    """Said again, a verb changes nothing and says so."""
    first = operator.do(verb, **more)
    assert first["changed"] is True, (verb, first)
    before = operator.steady()
    again = operator.do(verb, **more)
    assert again["changed"] is False, (verb, again)
    assert operator.steady() == before, (verb, before, operator.steady())
    return first


def every_verb_twice(operator):
    done = twice(operator, "promote", model="digits", version=2)
    assert done["version"] == 2 and done["took_ms"] > 0 and done["flip_us"] > 0, done
    done = twice(operator, "rollback", model="digits", why="it is bad")
    assert done["version"] == 1 and done["took_ms"] > 0, done
    steps = {"model": "digits", "version": 2, "steps": [100, 5000, 10000], "hold_ms": 60000}
    done = twice(operator, "rollout", **steps)
    assert (done["from"], done["step"], done["weight"]) == (1, 0, 1.0), done
    status = operator.status()
    assert status["canary"]["phase"] == "running" and status["canary"]["steps"] == [1, 50, 100]
    assert {g["phase"]: g["weight"] for g in status["generations"]} == {"live": 99, "canary": 1}
    operator.refuse("busy", "reload")
    twice(operator, "pause", model="digits")
    assert operator.status()["canary"]["phase"] == "paused"
    twice(operator, "resume", model="digits")
    done = twice(operator, "abort", model="digits")
    assert done["version"] == 1 and done["took_ms"] > 0, done
    operator.refuse("not_found", "pause", model="digits")
    twice(operator, "shadow", model="digits", version=2, share=1000)
    assert operator.status()["shadow"]["phase"] == "running"
    twice(operator, "shadow", model="digits", version=2, share=0)
    assert operator.do("reload")["changed"] is False
    assert operator.live() == 1


def only_the_expected_generation(operator):
    before = operator.steady()
    wrong = before[0] + 1000
    for verb, more in (("promote", {"model": "digits", "version": 2}),
                       ("rollback", {"model": "digits"}),
                       ("rollout", {"model": "digits", "version": 2, "steps": [10000]}),
                       ("pause", {"model": "digits"}), ("resume", {"model": "digits"}),
                       ("abort", {"model": "digits"}), ("reload", {}),
                       ("shadow", {"model": "digits", "version": 2, "share": 1}),
                       ("upgrade", {"path": "/bin/false"})):
        assert operator.refuse("conflict", verb, expect=wrong, **more)["generation"] == before[0]
    assert operator.steady() == before
    operator.refuse("bad_request", "status", expect=1)
    assert operator.do("promote", model="digits", version=2, expect=before[0])["changed"]
    operator.refuse("conflict", "promote", model="digits", version=1, expect=before[0])
    assert operator.do("promote", model="digits", version=1)["changed"]


def who_did_what_and_why(operator):
    assert os.stat(operator.log).st_mode & 0o777 == 0o640
    operator.do("promote", model="digits", version=2, why="ticket \"4711\"\n")
    line = [one for one in operator.lines() if one.get("why", "").startswith("ticket")][-1]
    assert line["who"] == {"uid": 0, "pid": os.getpid(), "user": "root"}, line
    assert (line["what"], line["model"], line["from"], line["to"], line["result"]) == (
        "promote", "digits", 1, 2, "ok"), line
    assert line["generation"] == operator.steady()[0] and line["why"] == "ticket \"4711\"\n"
    own = [one for one in operator.lines() if one["who"] == "flipgated"][-1]
    assert (own["what"], own["from"], own["to"]) == ("cutover", 1, 2), own
    operator.refuse("not_found", "promote", model="digits", version=77, why="typo")
    line = operator.lines()[-1]
    assert line["result"] == "not_found" and line["to"] == 77 and "77" in line["error"], line
    history = operator.do("history", limit=1000)
    assert history["path"] == operator.log and history["lines"] == operator.lines()
    assert operator.do("history", limit=2)["lines"] == operator.lines()[-2:]
    # A canary ended a moment ago; what went live since counts.
    assert operator.do("rollback", model="digits")["changed"] and operator.live() == 1


def the_group_may(operator):
    """Members of the socket's group may all but upgrade; others may not even connect."""
    os.chmod(operator.gateway.folder, 0o711)
    code = ("import json, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(sys.argv[2].encode() + b'\\n'); print(s.recv(65536).decode())")

    def nobody(group, **request_):
        return subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={group}", "--clear-groups", sys.executable, "-c",
             code, operator.gateway.socket, json.dumps(request_)], capture_output=True, text=True)

    done = nobody(NOBODY, verb="promote", model="digits", version=2)
    assert json.loads(done.stdout)["ok"], done
    line = [one for one in operator.lines() if one["what"] == "promote"][-1]
    assert line["who"]["uid"] == NOBODY and line["who"]["user"] == "nobody", line
    done = nobody(NOBODY, verb="upgrade", path=program("flipgated"))
    assert json.loads(done.stdout)["code"] == "denied", done
    assert "PermissionError" in nobody(12345, verb="status").stderr
    operator.do("rollback", model="digits")


def reloads_are_all_or_nothing(operator):
    before = operator.steady()
    operator.configure("models:\n- name: digits\n  polic: manual\n")
    assert "polic" in operator.refuse("failed", "reload")["error"]
    operator.repository.write(9, {"model.onnx": b"this is no model"})
    operator.configure("models:\n- name: digits\n  policy: specific\n  versions: [1, 2, 9]\n")
    reply = operator.refuse("failed", "reload")
    assert "version 9" in reply["error"] and "nothing changed" in reply["error"], reply
    with tempfile.TemporaryDirectory(prefix="fgt-empty-") as empty:
        operator.configure(f"models:\n- name: digits\n  policy: manual\n  path: {empty}\n")
        reply = operator.refuse("failed", "reload")
    assert "model digits" in reply["error"] and "nothing changed" in reply["error"], reply
    assert operator.steady() == before, (before, operator.steady())
    status = operator.status()
    assert status["reload"]["error"] and status["reload"]["serial"] > status["reload"]["accepted"]
    assert status["rules"]["models"][0]["policy"] == "manual", status["rules"]
    operator.configure("models:\n- name: digits\n  policy: specific\n  versions: [1, 2]\n"
                       "  labels:\n  - {name: stable, version: 1}\n")
    reply = operator.do("reload", why="two at once")
    assert reply["changed"] and reply["generation"] != before[0], reply
    assert sorted((m["version"], m["default"], m["labels"]) for m in reply["models"]) == [
        (1, True, ["stable"]), (2, False, [])], reply  # 1 was rolled back to
    assert operator.status()["reload"]["error"] == ""
    with Client(operator.net) as client:
        assert client.ask(request(ROW)).version == 1
        assert client.ask(request(ROW, version=2)).version == 2
    results = [one["result"] for one in operator.lines() if one["what"] == "reload"
               and one["who"] != "flipgated" and one["result"] != "begun"]
    assert results[-4:] == ["failed", "failed", "failed", "ok"], results


def reload_by_change_and_by_signal(operator):
    accepted = operator.status()["reload"]["accepted"]
    operator.configure(MANUAL + "  labels:\n  - {name: stable, version: 1}\n")
    wait_for("the changed file to be live", lambda: operator.status()["reload"]["accepted"] > accepted)
    wait_for("its rules", lambda: operator.status()["rules"]["models"][0]["policy"] == "manual")
    serial = operator.status()["reload"]["serial"]
    operator.gateway.process.send_signal(signal.SIGHUP)
    wait_for("SIGHUP to be acted on", lambda: operator.status()["reload"]["serial"] > serial)
    assert operator.gateway.process.poll() is None and operator.status()["ready"]


def a_full_disk_stops_nobody(operator):
    operator.do("promote", model="digits", version=2)
    operator.disk.fill()
    for number in range(40):
        assert operator.do("promote", model="digits", version=1 + number % 2)["changed"]
        if operator.status()["audit"]["lost"] > 1:
            break
    assert '"what":"promote"' in operator.gateway.log().split("event=audit.lost", 1)[1]
    operator.disk.empty()
    lost = operator.status()["audit"]["lost"]
    operator.do("promote", model="digits", version=1, why="room again")
    assert operator.status()["audit"]["lost"] == lost
    assert operator.do("history")["lines"][-1]["why"] == "room again"


def the_log_is_rotated(operator):
    os.rename(operator.log, operator.log + ".1")
    operator.gateway.process.send_signal(signal.SIGHUP)
    wait_for("a new log", lambda: os.path.exists(operator.log))
    wait_for("it to be used", lambda: operator.refuse("not_found", "abort", model="nobody",
                                                      why="new file") and any(
        one.get("why") == "new file" for one in operator.lines()))
    os.unlink(operator.log + ".1")


def a_canary_outlives_control(operator):
    operator.do("rollout", model="digits", version=2, steps=[2500, 10000], hold_ms=60000)
    before = operator.status()
    os.kill(before["control_pid"], signal.SIGKILL)
    after = wait_for("control to be back", lambda: back(operator))
    assert after["control_restarts"] == before["control_restarts"] + 1
    assert after["canary"]["phase"] == "running" and after["canary"]["weight"] == 25, after["canary"]
    assert after["flips"]["count"] == before["flips"]["count"], "the table stayed"
    assert [w["pid"] for w in after["workers"]] == [w["pid"] for w in before["workers"]]
    assert operator.do("promote", model="digits", version=2)["changed"]
    assert operator.status()["canary"]["phase"] == "done" and operator.live() == 2
    assert any(one["what"] == "control" for one in operator.lines())
    operator.do("promote", model="digits", version=1)


def back(operator):
    try:
        return operator.ask("status")
    except OSError:
        return None


def has_few_rights(pid):
    """Of control, whichever program it is: two capabilities, and no descriptor of the data plane."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    for name in ("CapPrm", "CapEff"):
        assert int(fields[name], 16) == 1 << 39 | 1 << 2, (name, fields[name])  # BPF, DAC_READ_SEARCH
    assert fields["NoNewPrivs"].strip() == "1"
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert sum(link.startswith("socket:") for link in links) <= 4, links
    assert not [link for link in links if "memfd" in link or "bpf_link" in link or "xdp" in link], links


def upgrade(operator, path):
    """What `flipgated --upgrade` says, run from `path`."""
    return subprocess.run([path, "--upgrade", "--socket", operator.gateway.socket],
                          capture_output=True, text=True, timeout=30)


def another_program_takes_over(operator):
    """Under load, also in the middle of a cutover: nothing is lost, no worker ends, no table changes."""
    other = os.path.join(tempfile.mkdtemp(prefix="fgt-program-"), "flipgated")
    shutil.copy(program("flipgated"), other)
    operator.repository.publish(3, source=os.path.join(DIGITS, "1"))
    load = load_start(operator.net, "--duration", "4", "--rate", "2000", "--flows", "20",
                      "--flow-requests", "50", "--expect", f"3={DIGITS}/reference_1.npy")
    try:
        time.sleep(0.4)
        before = operator.steady()
        done = upgrade(operator, other)
        assert done.returncode == 0 and other in done.stdout, done
        status = operator.status()
        assert status["control"]["program"] == other and not status["control"]["upgrade_error"]
        has_few_rights(status["control_pid"])
        assert operator.steady() == before, (before, operator.steady())
        wait_for("version 3 to be complete", lambda: any(
            (one["version"], one["state"]) == (3, "new")
            for one in operator.status()["models"][0]["versions"]))
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(operator.gateway.socket)
            one.sendall(b'{"verb":"promote","model":"digits","version":3}\n')
            time.sleep(0.02)
            assert upgrade(operator, program("flipgated")).returncode == 0
        wait_for("version 3 to be live all the same", lambda: operator.live() == 3)
        report = load_end(load)
    finally:
        load.kill()
        shutil.rmtree(os.path.dirname(other))
    for key in ("lost", "mixed_version_flows", "wrong_outputs"):
        assert report[key] == 0, (key, report[key], report.get("errors"))


def given_up(operator, path, part):
    """The keeper tries `path`, and goes back to its own program."""
    assert operator.ask("upgrade", path=path) is None
    control = wait_for("the old program", lambda: back(operator), 10)["control"]
    assert part in control["upgrade_error"], control
    assert control["program"] == os.path.realpath(program("flipgated")), control


def a_bad_program_is_given_up(operator):
    before = operator.steady()
    own = tempfile.mkdtemp(prefix="fgt-program-")
    path = os.path.join(own, "flipgated")
    try:
        for body, part in (("return 1;", "ended with status 1"), ("return 3;", "does not fit"),
                           ("for (;;) pause();", "took over 2 s")):
            subprocess.run([os.environ.get("CC", "cc"), "-x", "c", "-o", path, "-"], check=True, text=True,
                           input=f"#include <unistd.h>\nint main(void) {{ {body} }}\n")
            given_up(operator, path, part)
        os.chown(path, NOBODY, NOBODY)
        assert "belong to root" in operator.refuse("failed", "upgrade", path=path)["error"]
        os.chown(path, 0, 0)
        os.chmod(path, 0o777)
        assert "write it" in operator.refuse("failed", "upgrade", path=path)["error"]
        assert "No such file" in operator.refuse("failed", "upgrade", path="/nowhere")["error"]
        shutil.copy(program("flipgated"), path + "2")
        os.chmod(path + "2", 0o775)
        done = upgrade(operator, path + "2")
        assert done.returncode == 2 and "write it" in done.stderr, done
    finally:
        shutil.rmtree(own)
    assert operator.steady() == before, (before, operator.steady())
    assert [one["result"] for one in operator.lines() if one["what"] == "upgrade"
            and one["who"] == "flipgated"] == ["failed"] * 3


def share_one_gateway(*tests):
    repository = Repository()
    repository.publish(1)
    handle, config = tempfile.mkstemp(prefix="fgt-models-")
    os.write(handle, MANUAL.encode())
    os.close(handle)
    try:
        with Disk() as disk, Net() as net, Gateway(
                net, repository, "--models-config", config, "--audit-log",
                os.path.join(disk.path, "audit.log"), "--socket-group", "nogroup", "--keep", "60s",
                "--flow-idle", "100ms", "--drain-deadline", "2s") as gateway:
            operator = Operator(gateway, net, repository, disk, config)
            repository.publish(2)
            wait_for("version 2 to be complete", lambda: [
                one["state"] for one in operator.status()["models"][0]["versions"]] == ["live", "new"])
            try:
                main(*[(test.__name__, lambda test=test: test(operator)) for test in tests])
            except SystemExit as end:
                if end.code:
                    raise
    finally:
        os.unlink(config)


if __name__ == "__main__":
    share_one_gateway(every_verb_twice, only_the_expected_generation, who_did_what_and_why,
                      the_group_may, reloads_are_all_or_nothing, reload_by_change_and_by_signal,
                      a_full_disk_stops_nobody, the_log_is_rotated, a_canary_outlives_control,
                      another_program_takes_over, a_bad_program_is_given_up)
