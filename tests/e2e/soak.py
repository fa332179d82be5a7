#!/usr/bin/env python3
"""make soak: flips and kills at random moments under load, watching for loss and leaks.

    soak.py [--seconds N] [--seed S]

Each round loads the gateway for ten seconds and meanwhile promotes versions and, in every other
round, kills control or a worker with SIGKILL. Without a worker's death nothing may be lost; with
one, at most what it held, and only its flows may go on with another version. No output may be wrong. At the end memory and
descriptors of the keeper must be where they were after the first round.
"""

import argparse
import os
import random
import signal
import sys
import time

from harness import Gateway, Net, Repository, load_end, load_start, wait_for

ROUND_S, FLOWS = 10, 40


def resources(pid):
    """(open descriptors, resident KiB) of a process."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return len(os.listdir(f"/proc/{pid}/fd")), int(fields["VmRSS"].split()[0])


def disturb(gateway, kill, end):
    """Promotes and kills until `end`. Returns (flips, dead workers)."""
    flips = dead = 0
    while time.monotonic() < end:
        time.sleep(random.uniform(0.1, 0.8))
        choice = random.choice(("promote", "worker", "control") if kill else ("promote",))
        status = gateway.status(check=False)
        if choice == "promote":
            version = str(random.choice((1, 2)))
            flips += bool(gateway.verb("promote", "digits", version, check=False).get("changed"))
        elif choice == "control" and status.get("control_pid"):
            os.kill(status["control_pid"], signal.SIGKILL)
        elif choice == "worker":
            ready = [w["pid"] for w in status.get("workers", ()) if w["phase"] == "ready"]
            if len(ready) >= 2:
                os.kill(random.choice(ready), signal.SIGKILL)
                dead += 1
    return flips, dead


def soak_round(net, gateway, kill):
    process = load_start(net, "--duration", str(ROUND_S), "--rate", "2000", "--flows", str(FLOWS),
                         "--flow-requests", "30")
    flips, dead = disturb(gateway, kill, time.monotonic() + ROUND_S - 1)
    report = load_end(process)
    assert report["wrong_outputs"] == 0, report
    assert report["mixed_version_flows"] <= dead * FLOWS, report
    assert report["lost"] <= dead * 64, (report["lost"], dead)
    return report["requests"], report["lost"], flips, dead


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    random.seed(options.seed)
    print(f"seed {options.seed}", flush=True)
    repository = Repository()
    repository.publish(1)
    repository.publish(2)
    end, number, first = time.monotonic() + options.seconds, 0, None
    with Net() as net, Gateway(net, repository, "--cpus", "0,1", "--policy", "manual",
                               "--flow-idle", "100ms", "--drain-deadline", "1s") as gateway:
        while time.monotonic() < end:
            number += 1
            requests, lost, flips, dead = soak_round(net, gateway, number % 2 == 0)
            wait_for("calm", lambda: len(gateway.status(check=False).get("generations", ())) == 1,
                     30)
            now = resources(gateway.process.pid)
            first = first or now
            print(f"round {number}: {requests} requests, {lost} lost, {flips} flips, {dead} workers "
                  f"killed; keeper: {now[0]} descriptors, {now[1]} KiB", flush=True)
    assert now[0] <= first[0] + 8 and now[1] <= first[1] * 1.2 + 4096, (first, now)
    return 0


if __name__ == "__main__":
    sys.exit(main())
