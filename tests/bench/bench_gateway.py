#!/usr/bin/env python3
"""Round trips through the gateway, next to a bare AF_XDP echo of the same sizes on the same veth.

One namespace pair, one veth. Echo and gateway take turns on it, REPEATS times each, so that what
else the machine does hits both. The same client times both: one flow, open loop, measured from the
intended sending time. The reference of a percentile is the echo's, plus the time that the model
itself needs (the median of compute_ns in the replies). Reported: the median over the repeats; the worst repeat for information.

Also: the time from process start to ready, and a worker's own memory.
"""

import os
import statistics
import subprocess
import time

import report
from report import harness, row

REPEATS = int(os.environ.get("REPEATS", "11"))
RATE, SECONDS = 5000, 4
REPLY_BYTES = 64 + 40


def measure(net):
    result = harness.load(net, "--rate", str(RATE), "--duration", str(SECONDS), "--flows", "1",
                          "--warmup", "0.3", "--tolerance", "1e30")
    times = {key: result["rtt_us"][key] for key in ("p50", "p99", "p999")}
    return {**times, "lost": result["lost"]}


def start_echo(net, cpu):
    """The kernel frees the frames of the gateway that just ended a moment late: try again."""
    argv = [os.path.join(harness.BUILD, "tests/bench/echo"), "gw0", str(cpu), str(REPLY_BYTES)]
    for _ in range(20):
        echo = subprocess.Popen(net.command(net.gw, argv), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        if echo.stdout.readline() == "ready\n":
            return echo
        words = echo.communicate()[1]
        time.sleep(0.1)
    raise RuntimeError(words)


def measure_echo(net, cpu):
    echo = start_echo(net, cpu)
    try:
        return measure(net)
    finally:
        echo.terminate()
        echo.wait(10)


def compute_us(net):
    """The median run time of the model for one row, as the server measures it."""
    payload = harness.digits_rows()[0]
    with harness.Client(net) as client:
        times = [client.ask(harness.request(payload)).compute_ns for _ in range(300)]
    return statistics.median(times) / 1000


def measure_gateway(net, repository, cpu):
    with harness.Gateway(net, repository, "--cpus", str(cpu), mode="native",
                         poll="busy") as gateway:
        times = measure(net)
        status = gateway.status()
        times["compute"] = compute_us(net)
        times["ready_ms"] = status["ready_after_ms"]
        times["own_mib"] = max(w["own_bytes"] for w in status["workers"]) / (1 << 20)
        return times


def main():
    cpu = max(os.sched_getaffinity(0))
    repository = harness.Repository()
    repository.publish(1)
    echo, gateway = [], []
    with harness.Net() as net:
        for number in range(REPEATS):
            echo.append(measure_echo(net, cpu))
            gateway.append(measure_gateway(net, repository, cpu))
            print(f"{number + 1}/{REPEATS}: echo p50 {echo[-1]['p50']:.1f} us, "
                  f"gateway p50 {gateway[-1]['p50']:.1f} us", flush=True)
    median = lambda runs, key: statistics.median(run[key] for run in runs)
    compute = median(gateway, "compute")
    rows = [row("model run time, one row", compute, "us")]
    for key, aim in (("p50", 1.10), ("p99", 1.15), ("p999", None)):
        rows.append(row(f"round trip {key}, median of {REPEATS}", median(gateway, key), "us",
                        median(echo, key) + compute, aim))
    rows.append(row("round trip p50, worst repeat", max(run["p50"] for run in gateway), "us",
                    max(run["p50"] for run in echo) + compute))
    rows.append(row("lost by the gateway, all repeats", sum(run["lost"] for run in gateway), "req",
                    aim=0))
    rows.append(row("lost by the echo, all repeats", sum(run["lost"] for run in echo), "req"))
    rows.append(row("process start to ready, median", median(gateway, "ready_ms"), "ms", aim=300))
    rows.append(row("process start to ready, worst", max(run["ready_ms"] for run in gateway),
                    "ms", aim=300))
    rows.append(row("a worker's own memory", median(gateway, "own_mib"), "MiB", aim=16))
    report.write("gateway", rows)


if __name__ == "__main__":
    main()
