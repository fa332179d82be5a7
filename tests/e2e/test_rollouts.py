#!/usr/bin/env python3
"""Canaries, guards, shadows, labels, death loops: a rollout from the operator's chair."""

import os
import resource
import signal
import struct
import subprocess
import time

import mlp
from harness import (DIGITS, SERVER4, Client, Gateway, Net, Repository, digits_rows, load_end,
                     load_start, main, program, request, run, wait_for)

ROW = digits_rows()[0]
STEADY = ("--rate", "2500", "--flows", "40", "--flow-requests", "30")
UNGUARDED = ("--max-error-rate", "off", "--max-p99", "off", "--max-drift", "off")


def clean(report):
    for key in ("lost", "mixed_version_flows", "wrong_outputs"):
        assert report[key] == 0, (key, report[key], report.get("errors"))


def two_versions():
    repository = Repository()
    repository.publish(1)
    repository.publish(2)
    return repository


def manual(net, repository, *args):
    return Gateway(net, repository, "--policy", "manual", "--flow-idle", "150ms",
                   "--drain-deadline", "2s", *args)


def start_at(gateway, version):
    gateway.verb("promote", "digits", str(version))
    wait_for("one generation", lambda: len(gateway.status()["generations"]) == 1)


def code_of(gateway, *argv):
    done = run(program("flipgate"), *argv, "--socket", gateway.socket, "--output", "json",
               check=False)
    return done.returncode, done.stdout + done.stderr


def versions_of_keys(client, count):
    return [client.ask(request(ROW, affinity=key + 1)).version for key in range(count)]


def a_key_in_the_canary_stays_in_it():
    """Steps nest: 400 affinity keys, asked at every step, idle in between."""
    with Net() as net, manual(net, two_versions()) as gateway, Client(net) as client:
        start_at(gateway, 1)
        gateway.verb("rollout", "digits", "2", "--steps", "5%,25%,60%", "--hold", "900ms",
                     *UNGUARDED, "--no-wait")
        seen, shares = [1] * 400, []
        for weight in (5, 25, 60):
            wait_for(f"{weight} %", lambda: gateway.status()["canary"]["weight"] == weight)
            now = versions_of_keys(client, 400)
            assert all(b >= a for a, b in zip(seen, now)), "a key left the canary"
            shares.append(sum(version == 2 for version in now) / 4)
            seen = now
        for share, weight in zip(shares, (5, 25, 60)):
            assert abs(share - weight) < 9, (shares,)
        time.sleep(1.1)
        assert gateway.status()["canary"]["phase"] == "running", "the last step is not 100 %"
        answer = gateway.verb("promote", "digits", "2")
        assert answer["ok"] and gateway.live() == {"digits": 2}
        assert gateway.status()["canary"]["phase"] == "done"


def steps_under_load_lose_nothing():
    with Net() as net, manual(net, two_versions()) as gateway:
        start_at(gateway, 1)
        process = load_start(net, "--duration", "4", *STEADY)
        time.sleep(0.5)
        code, said = code_of(gateway, "rollout", "digits", "2", "--steps", "10%,50%,100%",
                             "--hold", "600ms", "--min-requests", "50", "--max-drift", "off",
                             "--max-p99", "off")
        assert code == 0, said
        assert gateway.live() == {"digits": 2}
        clean(load_end(process))


def pause_and_abort():
    with Net() as net, manual(net, two_versions()) as gateway, Client(net) as client:
        start_at(gateway, 1)
        gateway.verb("rollout", "digits", "2", "--steps", "50%,100%", "--hold", "300ms",
                     *UNGUARDED, "--no-wait")
        gateway.verb("pause", "digits")
        assert gateway.verb("pause", "digits")["ok"], "may be said twice"
        time.sleep(0.8)
        canary = gateway.status()["canary"]
        assert (canary["phase"], canary["weight"]) == ("paused", 50), canary
        assert 2 in versions_of_keys(client, 30)
        gateway.verb("abort", "digits", "--why", "a test")
        assert gateway.live() == {"digits": 1}
        time.sleep(0.3)
        assert set(versions_of_keys(client, 60)) == {1}
        canary = gateway.status()["canary"]
        assert canary["phase"] == "aborted", canary


def a_broken_guard_rolls_back():
    """Scores that drift, and a model that refuses what the old one took."""
    repository = two_versions()
    repository.publish(3, mlp.write(os.path.join(repository.path, "source.tmp"), (32, 8, 10), 1))
    with Net() as net, manual(net, repository) as gateway:
        start_at(gateway, 1)
        process = load_start(net, "--duration", "5", *STEADY)
        code, said = code_of(gateway, "rollout", "digits", "2", "--steps", "20%,100%", "--hold",
                             "20s", "--min-requests", "100", "--max-drift", "0.0001")
        assert code == 6 and "stability index" in said, (code, said)
        assert gateway.live() == {"digits": 1}
        code, said = code_of(gateway, "rollout", "digits", "3", "--steps", "10%,100%", "--hold",
                             "20s", "--min-requests", "50", "--max-error-rate", "1%",
                             "--max-drift", "off", "--max-p99", "off")
        assert code == 6 and "error rate" in said, (code, said)
        report = load_end(process)
        assert report["mixed_version_flows"] == report["lost"] == 0
        canary = gateway.status()["canary"]
        assert canary["phase"] == "broken" and "error rate" in canary["reason"], canary


def nobody_breaks_a_canary_by_nonsense():
    """Who sees which of his keys the canary has, and sends it there what no version can answer."""
    repository = two_versions()
    nan = struct.pack("<f", float("nan"))
    with Net() as net, manual(net, repository) as gateway:
        start_at(gateway, 1)
        process = load_start(net, "--duration", "12", *STEADY)
        gateway.verb("rollout", "digits", "2", "--steps", "30%,100%", "--hold", "6s",
                     "--min-requests", "100", "--max-error-rate", "0.5%", "--max-drift", "off",
                     "--max-p99", "off", "--no-wait")
        with Client(net) as client:
            def version(key):
                reply = client.ask(request(ROW, affinity=key))
                return reply.version
            wait_for("the canary to have flows",
                     lambda: gateway.status()["canary"]["weight"] == 30)
            mine = [key for key in range(1, 60) if version(key) == 2][:8]
            assert len(mine) >= 4, mine
            for _ in range(60):
                for key in mine:
                    client.ask(request(nan * 64, affinity=key))
                    client.ask(request(ROW[:4 * 63], cols=63, affinity=key))
                    client.ask(request(ROW, affinity=key, deadline_us=1))
        canary = gateway.status()["canary"]
        assert canary["phase"] == "running", canary
        wait_for("all flows", lambda: gateway.status()["canary"]["phase"] == "done", 20)
        load_end(process)


def control_dies_in_the_middle():
    """Three kills of control during one canary: it goes on from where it was."""
    with Net() as net, manual(net, two_versions()) as gateway:
        start_at(gateway, 1)
        process = load_start(net, "--duration", "4", *STEADY)
        gateway.verb("rollout", "digits", "2", "--steps", "10%,30%,60%,100%", "--hold", "500ms",
                     *UNGUARDED, "--no-wait")
        for _ in range(3):
            time.sleep(0.45)
            os.kill(wait_for("control", lambda: gateway.status(check=False).get("control_pid")),
                    signal.SIGKILL)
        gateway.wait_live(2)
        clean(load_end(process))
        assert gateway.status()["control_restarts"] == 3


def a_shadow_answers_nobody():
    with Net() as net, manual(net, two_versions()) as gateway:
        start_at(gateway, 1)
        process = load_start(net, "--duration", "3", *STEADY)
        gateway.verb("shadow", "digits", "2", "--share", "50%")
        time.sleep(1.5)
        shadow = gateway.status()["shadow"]
        assert shadow["phase"] == "running" and shadow["rows"] > 500, shadow
        assert 0.5 * shadow["rows"] < shadow["agreed"] <= shadow["rows"], shadow
        assert shadow["drift"] >= 0 and shadow["own_us"] > 0 and not shadow["errors"], shadow
        gateway.verb("shadow", "digits", "--stop")
        report = load_end(process)
        clean(report)
        assert set(report["flows"]["began_on"]) == {"1"}, report["flows"]
        wait_for("the shadow to be gone", lambda: len(gateway.status()["generations"]) == 1)


def labels_name_versions():
    """TensorFlow Serving's models.config, several versions in one generation, and a reload."""
    repository = two_versions()
    config = os.path.join(repository.path, "models.config")

    def write(stable, canary):
        with open(config + ".new", "w") as file:
            file.write('model_config_list { config { name: "digits" base_path: '
                       f'"{repository.path}/digits" model_platform: "tensorflow" '
                       "model_version_policy { specific { versions: 1 versions: 2 } } "
                       f'version_labels {{ key: "stable" value: {stable} }} '
                       f'version_labels {{ key: "canary" value: {canary} }} }} }}\n')
        os.rename(config + ".new", config)

    def answered(net, label):
        done = run(*net.command(net.cl, [
            program("flipgate"), "infer", f"{SERVER4}:9000", "digits", "--input",
            os.path.join(DIGITS, "inputs.npy"), "--rows", "0:1", "--label", label, "--output",
            "json"]), check=False)
        return done.stdout

    write(1, 2)
    with Net() as net, Gateway(net, repository, "--models-config", config, "--flow-idle",
                               "100ms") as gateway:
        wait_for("both versions", lambda: len(next(
            g for g in gateway.status()["generations"] if g["phase"] == "live")["models"]) == 2)
        assert '"version":1' in answered(net, "stable").replace(" ", "")
        assert '"version":2' in answered(net, "canary").replace(" ", "")
        assert '"version"' not in answered(net, "nobody")
        write(2, 2)
        answer = gateway.verb("reload")
        assert answer["ok"] and answer["generation"] > 1, answer
        assert '"version":2' in answered(net, "stable").replace(" ", "")
        before = gateway.status()["generations"]
        write(2, 7)
        refused = gateway.verb("reload", check=False)
        assert not refused["ok"] and "version 7" in refused["error"], refused
        assert [g["id"] for g in gateway.status()["generations"] if g["phase"] == "live"] == \
            [g["id"] for g in before if g["phase"] == "live"]


def workers_that_die_at_once_are_flipped_out():
    """Version 2's worker is killed again and again: version 1 is still kept, and comes back."""
    with Net() as net, manual(net, two_versions(), "--keep", "60s") as gateway:
        gateway.verb("promote", "digits", "1")
        gateway.verb("promote", "digits", "2")
        killed, end = set(), time.monotonic() + 15
        while gateway.live() == {"digits": 2} and time.monotonic() < end:
            live = next(g for g in gateway.status()["generations"] if g["phase"] == "live")
            for worker in gateway.workers():
                if worker["slot"] in live["slots"] and worker["pid"] not in killed:
                    killed.add(worker["pid"])
                    os.kill(worker["pid"], signal.SIGKILL)
            time.sleep(0.02)
        assert gateway.live() == {"digits": 1}, gateway.live()
        versions = {v["version"]: v for v in gateway.status()["models"][0]["versions"]}
        assert versions[2]["state"] == "failed" and "died" in versions[2]["error"], versions
        time.sleep(1)
        assert gateway.live() == {"digits": 1}


def a_worker_that_hangs_is_replaced():
    with Net() as net, manual(net, two_versions()) as gateway, Client(net) as client:
        start_at(gateway, 1)
        worker = gateway.workers()[0]
        os.kill(worker["pid"], signal.SIGSTOP)
        wait_for("another worker in its slot", lambda: any(
            w["slot"] == worker["slot"] and w["pid"] != worker["pid"]
            for w in gateway.workers()), 15)
        assert client.ask(request(ROW)).status == "ok"


def rollback_from_memory():
    with Net() as net, manual(net, two_versions(), "--keep", "60s") as gateway:
        gateway.verb("promote", "digits", "1")
        gateway.verb("promote", "digits", "2")
        process = load_start(net, "--duration", "2", *STEADY)
        time.sleep(0.7)
        answer = gateway.verb("rollback", "digits")
        assert answer["version"] == 1 and 0 < answer["took_ms"] < 1000, answer
        clean(load_end(process))


def without_descriptors_a_load_fails_and_service_goes_on():
    """The limit leaves none for another plan."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, manual(net, repository) as gateway, Client(net) as client:
        pid = gateway.process.pid
        used = len(os.listdir(f"/proc/{pid}/fd"))
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, most))
        repository.publish(2)
        refused = gateway.verb("promote", "digits", "2", "--wait", "3s", check=False)
        assert not refused.get("ok"), refused
        assert client.ask(request(ROW)).version == 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
        wait_for("the promote to work again", lambda: gateway.verb(
            "promote", "digits", "2", check=False).get("ok"), 20)


def a_polite_stop_leaves_no_pins():
    """And the next start in the same place finds none, after a kill -9 neither."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, manual(net, repository) as gateway:
        pins = gateway.pins
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(15) == 0
        assert not os.path.exists(pins)
        for _ in range(2):
            again = subprocess.Popen(net.command(net.gw, gateway.argv), stderr=subprocess.DEVNULL)
            wait_for("ready again", lambda: os.path.exists(gateway.socket) and
                     gateway.status(check=False).get("ready"))
            again.kill()
            again.wait()
        gateway.process = subprocess.Popen(net.command(net.gw, gateway.argv),
                                           stderr=subprocess.DEVNULL)
        wait_for("ready", lambda: gateway.status(check=False).get("ready"))


main(a_key_in_the_canary_stays_in_it, steps_under_load_lose_nothing, pause_and_abort,
     a_broken_guard_rolls_back, nobody_breaks_a_canary_by_nonsense, control_dies_in_the_middle, a_shadow_answers_nobody,
     labels_name_versions, workers_that_die_at_once_are_flipped_out,
     a_worker_that_hangs_is_replaced, rollback_from_memory,
     without_descriptors_a_load_fails_and_service_goes_on, a_polite_stop_leaves_no_pins)
