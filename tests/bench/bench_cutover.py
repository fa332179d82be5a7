#!/usr/bin/env python3
"""Twenty cutovers in a minute under an open load of half the measured capacity.

The load tool sees the flips in the replies and takes the percentiles within 100 ms around each
(50 ms before, 50 ms after the first reply of the new generation) and of all the rest. The
reference is that rest: the same run, the same machine, the same noise.
"""

import os
import time

import report
from report import harness, row

CUTOVERS, SECONDS = int(os.environ.get("CUTOVERS", "20")), int(os.environ.get("SECONDS", "60"))
LIMIT_RATE = 400000
FLOWS, FLOW_REQUESTS = 64, 200


def keeps_up(net, rate):
    """Does the gateway answer all of `rate`, with the sender on schedule?"""
    result = harness.load(net, "--rate", str(rate), "--duration", "1", "--flows", str(FLOWS),
                          "--timeout", "500")
    return result["lost"] == 0 and result["rtt_us"]["p99"] < 5000


def capacity(net):
    """The largest rate that twice in a row is answered wholly with a p99 under 5 ms."""
    low, high = 2000, LIMIT_RATE
    while high - low > low // 10:
        middle = (low + high) // 2
        if keeps_up(net, middle) and keeps_up(net, middle):
            low = middle
        else:
            high = middle
    return low


def main():
    cpu = max(os.sched_getaffinity(0))
    repository = harness.Repository()
    repository.publish(1)
    repository.publish(2)
    with harness.Net() as net, harness.Gateway(
            net, repository, "--cpus", str(cpu), "--policy", "manual", "--flow-idle", "200ms",
            "--drain-deadline", "1s", mode="native", poll="busy") as gateway:
        most = capacity(net)
        print(f"capacity: {most} requests a second; loading with half", flush=True)
        process = harness.load_start(net, "--rate", str(most // 2), "--duration", str(SECONDS),
                                     "--flows", str(FLOWS), "--flow-requests",
                                     str(FLOW_REQUESTS))
        time.sleep(2)
        started, flips = time.monotonic(), []
        version = gateway.live()["digits"]
        for number in range(CUTOVERS):
            version = 3 - version
            answer = gateway.verb("promote", "digits", str(version))
            flips.append(answer["flip_us"])
            time.sleep(max(0, started + (number + 1) * (SECONDS - 5) / CUTOVERS
                           - time.monotonic()))
        result = harness.load_end(process, SECONDS + 60)
    seen = result["flips"]
    around = result["rtt_phases_us"]["during"]
    rows = [
        row("capacity", most, "req/s"),
        row("cutovers seen by the client", len(seen), "flips"),
        row("requests", result["requests"], "req"),
        row("lost", result["lost"], "req", aim=0),
        row("flows that mixed versions", result["mixed_version_flows"], "flows", aim=0),
        row("wrong outputs", result["wrong_outputs"], "req", aim=0),
    ]
    for key, aim in (("p50", None), ("p99", None), ("p999", 1.10)):
        rows.append(row(f"round trip {key} within 100 ms of a flip", around[key], "us",
                        result["steady"][key], aim))
    rows.append(row("flip system call, median", sorted(flips)[len(flips) // 2], "us"))
    rows.append(row("flip system call, worst", max(flips), "us"))
    report.write("cutover", rows)


if __name__ == "__main__":
    main()
