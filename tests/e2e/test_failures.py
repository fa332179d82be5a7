#!/usr/bin/env python3
"""Bad input, bad models, killed processes: a clear word, and service goes on."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

from harness import (DIGITS, PORT, SERVER4, SERVER6, Client, Gateway, Net, Repository, digits_rows,
                     load_end, load_start, main, program, request, run, wait_for)

ROW = digits_rows()[0]


def every_error_has_a_status():
    cases = [
        (request(ROW, model=b"nobody"), "unknown_model"),
        (request(ROW, version=9), "unknown_version"),
        (request(ROW[:128], cols=32), "bad_shape"),
        (request(b"", rows=0), "bad_shape"),
        (request(ROW, rows=2), "bad_request"),
        (request(ROW, payload_bytes=300), "bad_request"),
        (request(ROW, dtype=9), "bad_dtype"),
        (request(ROW, flags=1), "bad_request"),
        (request(ROW, zero=1), "bad_request"),
        (request(bytes(64 * 64), rows=64, dtype=5, deadline_us=1), "deadline"),
        (request(ROW, rows=0xffffffff, cols=0xffffffff), "bad_request"),
        (request(bytes(64 * 300), rows=300, dtype=5), "too_many_rows"),
        (request(bytes(64 * 20), rows=20, dtype=6), "ok"),
    ]
    for mode in ("native", "sockets"):
        repository = Repository()
        repository.publish(1)
        with Net() as net, Gateway(net, repository, mode=mode), Client(net) as client:
            for data, wanted in cases:
                padded = data + bytes(2000 if wanted == "ok" else 0)
                reply = client.ask(padded)
                assert reply, (mode, wanted, "no answer")
                assert reply.status == wanted, (mode, wanted, reply.status, reply.payload)
                assert wanted == "ok" or 0 < len(reply.text) <= 64, reply.text
                assert reply.length <= len(padded) + 64
            assert client.ask(request(ROW)).status == "ok"


def never_amplifies():
    """20 rows of u8 are 1,344 bytes, the answer would be 864: fits. 6 rows would not."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository), Client(net) as client:
        data = request(bytes(64), rows=1, dtype=5)
        assert client.ask(data).status == "ok"
        short = request(struct.pack("<64e", *[0.0] * 64), rows=1, dtype=4)
        reply = client.ask(short)
        assert reply.status == "ok" and reply.length <= len(short) + 64


def strangers_get_no_answer():
    garbage = [b"", b"x", b"hello" * 20, request(ROW, magic=0x31504747), request(ROW, protocol=2),
               request(ROW, kind=2), request(ROW)[:63], os.urandom(400)]
    for mode, prefix in (("native", "xdp"), ("generic", "xdp"), ("sockets", "sock")):
        repository = Repository()
        repository.publish(1)
        with Net() as net, Gateway(net, repository, mode=mode) as gateway, Client(net) as client:
            for data in garbage:
                client.send(data)
            assert client.receive(0.3) is None
            counters = gateway.counters()
            dropped = counters[f"{prefix}_drop_short"] + counters[f"{prefix}_drop_magic"]
            assert dropped == len(garbage), counters
            assert client.ask(request(ROW)).status == "ok"


def wrong_checksums_are_dropped():
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        with net.inside(net.cl):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        data = request(ROW)
        raw.sendto(struct.pack(">HHHH", 4242, PORT, 8 + len(data), 0x1234) + data, (SERVER4, 0))
        wait_for("the drop to be counted",
                 lambda: sum(w["not_ours"] for w in gateway.workers()) == 1)
        raw.close()


def a_flood_moves_nobody():
    """Forged new flows fill buckets, yet a flow in flight stays with its worker and version."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, "--cpus", "0,1", "--flow-idle", "30s",
                               "--buckets-log2", "10") as gateway, Client(net) as client:
        assert client.ask(request(ROW)).status == "ok"
        repository.publish(2)
        gateway.wait_live(2)
        assert client.ask(request(ROW)).version == 1
        with net.inside(net.cl):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        for number in range(4000):
            data = request(b"", rows=0, affinity=number + 1)
            raw.sendto(struct.pack(">HHHH", 1024 + number, PORT, 8 + len(data), 0) + data,
                       (SERVER4, 0))
        raw.close()
        reply = client.ask(request(ROW))
        assert reply and reply.version == 1, reply and reply.version


def refused(files, *words):
    """Publishes a broken version 2 next to a good 1; says whether the refusal names `words`."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway, Client(net) as client:
        repository.write(2, files)
        failed = wait_for("version 2 to be refused", lambda: [
            version for version in gateway.status()["models"][0]["versions"]
            if version["version"] == 2 and version["state"] == "failed"])
        for word in words:
            assert word in failed[0]["error"], (word, failed[0]["error"])
        assert gateway.live() == {"digits": 1}
        assert client.ask(request(ROW)).version == 1
        return gateway, repository


def broken_models_are_refused():
    with open(os.path.join(DIGITS, "1/model.onnx"), "rb") as file:
        good = file.read()
    refused({"model.onnx": b""}, "model.onnx")
    refused({"model.onnx": b"not a model at all"}, "model.onnx")
    refused({"model.onnx": good[:len(good) // 2]})
    refused({"model.onnx": good, "golden.json": b"{"}, "golden")


def golden_rows_that_miss_are_refused():
    with open(os.path.join(DIGITS, "1/model.onnx"), "rb") as file:
        model = file.read()
    with open(os.path.join(DIGITS, "2/golden.json"), "rb") as file:
        golden = file.read()  # of the other version
    refused({"model.onnx": model, "golden.json": golden}, "golden")


def a_repaired_version_is_taken():
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        folder = repository.write(2, {"model.onnx": b"broken"})
        wait_for("version 2 to be refused", lambda: any(
            version["state"] == "failed" for version in gateway.status()["models"][0]["versions"]))
        shutil.copy(os.path.join(DIGITS, "2/model.onnx"), folder)
        gateway.wait_live(2)


def slow_copies_are_not_taken_early():
    repository = Repository()
    repository.publish(1)
    with open(os.path.join(DIGITS, "2/model.onnx"), "rb") as file:
        data = file.read()
    with Net() as net, Gateway(net, repository) as gateway:
        folder = os.path.join(repository.path, "digits", "2")
        os.mkdir(folder)
        step = len(data) // 10 + 1
        with open(os.path.join(folder, "model.onnx"), "wb") as file:
            for start in range(0, len(data), step):
                file.write(data[start:start + step])
                file.flush()
                time.sleep(0.1)
        gateway.wait_live(2)
        assert "failed" not in {version["state"]
                                for version in gateway.status()["models"][0]["versions"]}


def killed_worker(mode):
    """kill -9 of one of two workers under load: only what it held is lost, and it is replaced."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, "--cpus", "0,1", mode=mode) as gateway:
        process = load_start(net, "--duration", "4", "--rate", "2000", "--flows", "40")
        time.sleep(1)
        victims = []
        for _ in range(2):
            victim = gateway.workers()[0]
            victims.append(victim["pid"])
            os.kill(victim["pid"], signal.SIGKILL)
            wait_for("the worker to be replaced", lambda: len(
                {worker["pid"] for worker in gateway.workers()} - set(victims)) == 2)
            time.sleep(0.3)
        report = load_end(process)
        assert report["mixed_version_flows"] == report["wrong_outputs"] == 0
        assert report["lost"] < report["requests"] * 0.02, report["lost"]
        assert report["replies"] + report["lost"] == report["requests"]
        time.sleep(0.2)
        with Client(net) as client:
            for _ in range(20):
                assert client.ask(request(ROW)).status == "ok"


def frames_survive_many_deaths():
    """A leak of frames would end service: 256 frames, and a worker killed under load 8 times."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, "--frames", "256") as gateway:
        process = load_start(net, "--duration", "9", "--rate", "3000", "--flows", "40")
        for _ in range(8):
            time.sleep(0.3)
            pid = wait_for("a worker", gateway.workers)[0]["pid"]
            os.kill(pid, signal.SIGKILL)
            wait_for("another worker",
                     lambda: [w for w in gateway.workers() if w["pid"] != pid], 15)
        load_end(process)
        report = load_end(load_start(net, "--duration", "1", "--rate", "3000", "--flows", "40"))
        assert report["lost"] == 0, report["lost"]


def killed_control():
    """kill -9 of control under load, also in the middle of a cutover: no request notices."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, "--flow-idle", "200ms") as gateway:
        process = load_start(net, "--duration", "5", "--rate", "2000", "--flows", "20",
                             "--flow-requests", "50")
        for number in range(6):
            time.sleep(0.25)
            if number == 3:
                repository.publish(2)
                time.sleep(0.25)
            os.kill(wait_for("control", lambda: gateway.status(check=False).get("control_pid")),
                    signal.SIGKILL)
            wait_for("control to be back", lambda: gateway.status(check=False).get("ok"))
        gateway.wait_live(2)
        report = load_end(process)
        for key in ("lost", "mixed_version_flows", "wrong_outputs"):
            assert report[key] == 0, (key, report[key])
        assert gateway.status()["control_restarts"] >= 6


def signals_to_the_whole_group_drain():
    """^C on a terminal and a service manager's stop reach every process; only the keeper acts."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        status = gateway.status()
        children = [status["control_pid"]] + [w["pid"] for w in status["workers"]]
        for pid in children:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, number)
        with Client(net) as client:
            assert client.ask(request(ROW)).status == "ok"
        after = gateway.status()
        assert children == [after["control_pid"]] + [w["pid"] for w in after["workers"]]


def workers_that_die_together():
    """All workers at once: the keeper frees every lock before it takes any frame back."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, "--cpus", "0,1,0,1") as gateway:
        process = load_start(net, "--duration", "4", "--rate", "3000", "--flows", "40")
        for _ in range(6):
            time.sleep(0.3)
            old = {worker["pid"] for worker in gateway.workers()}
            for pid in old:
                os.kill(pid, signal.SIGKILL)
            wait_for("four other workers", lambda: len(
                {worker["pid"] for worker in gateway.workers()} - old) == 4, 20)
        load_end(process)
        with Client(net) as client:
            for _ in range(20):
                assert client.ask(request(ROW)).status == "ok"


def a_worker_that_hangs_is_replaced():
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway, Client(net) as client:
        pid = gateway.workers()[0]["pid"]
        os.kill(pid, signal.SIGSTOP)
        wait_for("another worker", lambda: [w for w in gateway.workers() if w["pid"] != pid], 10)
        wait_for("an answer", lambda: client.ask(request(ROW), 0.3))


def is_alive(pid):
    """False for a zombie too: whoever should wait for it may be slow."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def killed_keeper_leaves_nothing_in_the_way():
    repository = Repository()
    repository.publish(1)
    with Net() as net:
        with Gateway(net, repository) as first:
            pids = [first.process.pid] + [w["pid"] for w in first.workers()]
            first.process.kill()
            first.process.wait()
            wait_for("its children to be gone", lambda: not any(map(is_alive, pids)))
            with open(first.log_path, "wb") as log:
                first.process = subprocess.Popen(net.command(net.gw, first.argv),
                                                 stdout=log, stderr=log)
            wait_for("the second one to be ready", first.is_ready)
            with Client(net) as client:
                assert client.ask(request(ROW)).status == "ok"
            pins = first.pins
        assert not os.path.exists(pins), "pins left behind"


def fails_to_start(net, wanted, *args, repository=None, code=2):
    own = repository or Repository()
    argv = [program("flipgated"), "--repository", own.path, "--socket", f"{own.path}/s", "--pin-dir",
            f"/sys/fs/bpf/fgt-{os.getpid()}-x", *args]
    done = subprocess.run(net.command(net.gw, argv), capture_output=True, text=True, timeout=20)
    lines = [line for line in done.stderr.splitlines() if line.startswith("flipgated:")]
    assert done.returncode == code, (wanted, done.returncode, done.stderr)
    assert len(lines) == 1 and re.search(wanted, lines[0]), (wanted, done.stderr)


def starting_fails_with_one_clear_line():
    listen = ("--listen", f"{SERVER4}:{PORT}")
    with Net() as net:
        fails_to_start(net, "no such interface", "--interface", "nope0", *listen)
        fails_to_start(net, "no interface has this address", "--listen", "10.9.9.9:1")
        fails_to_start(net, "nothing to listen on", code=1)
        fails_to_start(net, "not.*auto, native", "--mode", "quick", *listen, code=1)
        fails_to_start(net, "no such flag", "--wrong", code=1)
        fails_to_start(net, "user.*nonexistent", "--user", "nonexistent", *listen, code=1)
        with net.inside(net.gw):
            busy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        busy.bind((SERVER4, PORT))
        fails_to_start(net, "another program has this port", *listen)
        busy.close()
        run("ip", "-n", net.gw, "link", "set", "gw0", "down")
        fails_to_start(net, "is down", "--interface", "gw0", *listen)
        run("ip", "-n", net.gw, "link", "set", "gw0", "up")
        repository = Repository()
        repository.publish(1)
        with Gateway(net, repository, listen=[f"{SERVER4}:{PORT}"]):
            other = Repository()
            fails_to_start(net, "XDP program", "--interface", "gw0", "--mode", "native",
                           "--listen", f"{SERVER4}:9001", repository=other)


def too_little_locked_memory_is_named():
    """Without CAP_IPC_LOCK and CAP_SYS_RESOURCE the limit counts and cannot be raised."""
    with Net() as net:
        own = Repository()
        argv = ["setpriv", "--bounding-set=-ipc_lock,-sys_resource", "prlimit", "--memlock=65536",
                program("flipgated"), "--repository", own.path, "--socket", f"{own.path}/s",
                "--pin-dir", f"/sys/fs/bpf/fgt-{os.getpid()}-y", "--interface", "gw0", "--mode",
                "native", "--listen", f"{SERVER4}:{PORT}"]
        done = subprocess.run(net.command(net.gw, argv), capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and "RLIMIT_MEMLOCK" in done.stderr, done.stderr


def denied_sources_get_no_answer():
    for mode, counter in (("native", "xdp_drop_acl"), ("sockets", "sock_drop_acl")):
        repository = Repository()
        repository.publish(1)
        with Net() as net, Gateway(net, repository, "--acl", "deny 0.0.0.0/0", "--acl",
                                   "allow fd77::/64", mode=mode) as gateway:
            with Client(net) as client:
                assert client.ask(request(ROW), 0.3) is None
            with Client(net, SERVER6) as client:
                assert client.ask(request(ROW)).status == "ok"
            assert gateway.counters()[counter] == 1


def workers_have_no_privileges():
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        worker = gateway.workers()[0]
        with open(f"/proc/{worker['pid']}/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(fields[name], 16) == 0, (name, fields[name])
        assert fields["NoNewPrivs"].strip() == "1" and fields["Seccomp"].strip() == "2"
        assert "0" not in fields["Uid"].split()
        assert worker["own_bytes"] <= 16 << 20, worker["own_bytes"]
        opened = os.listdir(f"/proc/{worker['pid']}/fd")
        assert len(opened) <= 10, opened


def stops_politely_under_load():
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, "--drain-deadline", "1s") as gateway:
        process = load_start(net, "--duration", "1.5", "--rate", "1000", "--flows", "10",
                             "--timeout", "300")
        time.sleep(0.5)
        assert gateway.stop() == 0
        report = load_end(process)
        assert report["wrong_outputs"] == 0
        assert not os.path.exists(gateway.pins)


if __name__ == "__main__":
    main(every_error_has_a_status, never_amplifies, strangers_get_no_answer,
         wrong_checksums_are_dropped, a_flood_moves_nobody, broken_models_are_refused,
         golden_rows_that_miss_are_refused, a_repaired_version_is_taken,
         slow_copies_are_not_taken_early,
         *[(f"killed_worker {mode}", lambda mode=mode: killed_worker(mode))
           for mode in ("native", "generic", "sockets")],
         frames_survive_many_deaths, workers_that_die_together, a_worker_that_hangs_is_replaced,
         signals_to_the_whole_group_drain, killed_control, killed_keeper_leaves_nothing_in_the_way,
         starting_fails_with_one_clear_line, too_little_locked_memory_is_named,
         denied_sources_get_no_answer, workers_have_no_privileges,
         stops_politely_under_load)
