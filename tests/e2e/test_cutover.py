#!/usr/bin/env python3
"""Versions change under load: nothing lost, nothing mixed, and back again."""

import time

from harness import (Client, Gateway, Net, Repository, digits_rows, load_end, load_start, main,
                     request, wait_for)

STEADY = ("--rate", "3000", "--flows", "30", "--flow-requests", "40")


def clean(report):
    for key in ("lost", "mixed_version_flows", "wrong_outputs"):
        assert report[key] == 0, (key, report[key], report.get("errors"))
    assert not {k: v for k, v in report["errors"].items() if v and k != "ok"}, report["errors"]


def cutover(mode):
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, "--flow-idle", "200ms", mode=mode) as gateway:
        process = load_start(net, "--duration", "4", *STEADY)
        time.sleep(1.5)
        repository.publish(2)
        gateway.wait_live(2)
        report = load_end(process)
        clean(report)
        assert len(report["flips"]) == 1, report["flips"]
        assert report["flows"]["finished_on"]["1"] > 0
        assert report["flows"]["began_on"]["2"] > 0
        wait_for("the old generation to be gone",
                 lambda: len(gateway.status()["generations"]) == 1)
        assert gateway.status()["generations"][0]["id"] == 2


def long_flows_stay():
    """A flow that never pauses stays on version 1 until drain_deadline, then moves, unharmed."""
    repository = Repository()
    repository.publish(1)
    row = digits_rows()[0]
    with Net() as net, Gateway(net, repository, "--flow-idle", "500ms", "--drain-deadline",
                               "2s") as gateway, Client(net) as client, Client(net) as other:
        assert client.ask(request(row)).version == 1
        repository.publish(2)
        seen, flipped_at, moved_at = [], None, None
        end = time.monotonic() + 12
        while time.monotonic() < end and moved_at is None:
            reply = client.ask(request(row))
            assert reply and reply.status == "ok"
            seen.append(reply.version)
            if flipped_at is None and gateway.live().get("digits") == 2:
                flipped_at = time.monotonic()
                assert other.ask(request(row)).version == 2
            if reply.version == 2:
                moved_at = time.monotonic()
        assert flipped_at and moved_at, seen[-3:]
        assert 1.5 < moved_at - flipped_at < 4, moved_at - flipped_at
        assert seen == sorted(seen), "a flow went back and forth"


def manual_waits_for_promote():
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, "--policy", "manual", "--flow-idle",
                               "100ms") as gateway:
        repository.publish(2)
        wait_for("version 2 to be seen", lambda: any(
            version["version"] == 2 for version in gateway.status()["models"][0]["versions"]))
        time.sleep(0.7)
        assert gateway.live() == {"digits": 1}
        answer = gateway.verb("promote", "digits", "2")
        assert answer["ok"] and answer["changed"] and answer["flip_us"] > 0, answer
        assert gateway.live() == {"digits": 2}
        assert gateway.verb("promote", "digits", "2")["changed"] is False
        refused = gateway.verb("promote", "digits", "9", check=False)
        assert not refused["ok"] and refused["code"] == "not_found", refused
        refused = gateway.verb("promote", "nobody", "1", check=False)
        assert not refused["ok"] and refused["code"] == "not_found", refused


def rollback_is_the_previous_table():
    """While the previous generation is kept, rollback flips back to the same workers."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, "--keep", "60s", "--flow-idle",
                               "100ms") as gateway:
        first = {worker["pid"] for worker in gateway.workers()}
        repository.publish(2)
        gateway.wait_live(2)
        process = load_start(net, "--duration", "2", *STEADY)
        time.sleep(0.8)
        answer = gateway.verb("rollback", "digits")
        assert answer["ok"] and answer["version"] == 1, answer
        clean(load_end(process))
        live = [g for g in gateway.status()["generations"] if g["phase"] == "live"][0]
        assert live["id"] == 1
        pids = {w["pid"] for w in gateway.status()["workers"] if w["slot"] in live["slots"]}
        assert pids == first, (pids, first)
        time.sleep(1)
        assert gateway.live() == {"digits": 1}, "latest must not undo a rollback"


def rollback_after_the_generation_is_gone():
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, "--flow-idle", "100ms") as gateway:
        repository.publish(2)
        gateway.wait_live(2)
        wait_for("generation 1 to be gone", lambda: len(gateway.status()["generations"]) == 1)
        answer = gateway.verb("rollback", "digits")
        assert answer["ok"] and answer["version"] == 1 and gateway.live() == {"digits": 1}


def twenty_in_a_row():
    """Back and forth as fast as it goes, under load, in one gateway."""
    repository = Repository()
    repository.publish(1)
    repository.publish(2)
    with Net() as net, Gateway(net, repository, "--policy", "manual", "--flow-idle", "400ms",
                               "--drain-deadline", "2s") as gateway:
        process = load_start(net, "--duration", "14", "--rate", "2000", "--flows", "20",
                             "--flow-requests", "10")
        flips = 0
        for number in range(20):
            answer = gateway.verb("promote", "digits", str(1 + number % 2))
            flips += answer["changed"]
            time.sleep(0.2)
        report = load_end(process)
        clean(report)
        assert flips >= 19, flips


def two_models():
    repository = Repository()
    repository.publish(1)
    repository.publish(1, source=None, model="other")
    row = digits_rows()[0]
    with Net() as net, Gateway(net, repository) as gateway, Client(net) as client:
        assert gateway.live() == {"digits": 1, "other": 1}
        assert client.ask(request(row, model=b"other")).status == "ok"
        repository.publish(2, model="other")
        gateway.wait_live(2, model="other")
        wait_for("the flow to be idle", lambda: time.sleep(1.1) or True)
        assert client.ask(request(row, model=b"other")).version == 2
        assert client.ask(request(row)).version == 1


if __name__ == "__main__":
    main(*[(f"cutover {mode}", lambda mode=mode: cutover(mode))
           for mode in ("native", "generic", "sockets")],
         long_flows_stay, manual_waits_for_promote, rollback_is_the_previous_table,
         rollback_after_the_generation_is_gone, twenty_in_a_row, two_models)
