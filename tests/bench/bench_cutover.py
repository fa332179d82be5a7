#!/usr/bin/env python3
"""Cutovers under an open load of half the measured capacity: UDP (AF_XDP) and TCP, whole and by steps.

    make bench-cutover        CUTOVERS=20: fewer; PARTS=udp,tcp,kept,large,others: some of it

The load tool sees the flips in the replies and takes the percentiles within 100 ms around each
(50 ms before, 50 ms after the first reply of the new generation) and of all the rest. The
reference is that rest: the same run, the same machine, the same noise.

Beside it, on the same veth with the same load tool: a reload of nginx and of HAProxy (TCP proxies in
front of an echo), and an echo that hands its port over by SO_REUSEPORT without any BPF.
"""

import glob
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from datetime import datetime

import report
from report import harness, row

import mlp  # noqa: E402  (tests/e2e, as harness)

CUTOVERS = int(os.environ.get("CUTOVERS", "100"))
PARTS = os.environ.get("PARTS", "udp,tcp,kept,large,others").split(",")
EVERY_S = 0.6
LIMIT_RATE = 400000
FLOWS, FLOW_REQUESTS = 64, 200
SIZES = (64, 256, 256, 1)  # model B
BIG = (64, 7000, 7000, 1)  # 197 MB of weights
CANARY_STEPS, CANARY_HOLD = "1%,5%,25%,50%,100%", "100ms"
TCP_PORT, PROXY_PORT, ECHO_PORT = 9001, 9100, 9200
PROXIES = os.path.join(harness.BUILD, "bench/proxies/root")  # setup_proxies.sh unpacked them here


class Load:
    """`flipgate load` of model B against one address."""

    def __init__(self, net, folder, address, checked=True, model="b"):
        self.net = net
        self.argv = [harness.program("flipgate"), "load", address, model, "--input",
                     os.path.join(folder, "inputs.npy"), "--output", "json", "--flows",
                     str(FLOWS), "--flow-requests", str(FLOW_REQUESTS)]
        for version in (1, 2) if checked else ():
            self.argv += ["--expect", f"{version}={folder}/reference_{version}.npy"]

    def start(self, rate, seconds):
        argv = [*self.argv, "--rate", str(rate), "--duration", str(seconds)]
        return subprocess.Popen(self.net.command(self.net.cl, argv), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def run(self, rate, seconds):
        return harness.load_end(self.start(rate, seconds))

    def keeps_up(self, rate):
        """Is all of `rate` answered, with the sender on schedule?"""
        result = self.run(rate, 1)
        return result["lost"] == 0 and result["rtt_us"]["p99"] < 5000

    def capacity(self):
        """The largest rate that twice in a row is answered wholly with a p99 under 5 ms."""
        low, high = 1000, LIMIT_RATE
        while high - low > low // 10:
            middle = (low + high) // 2
            if self.keeps_up(middle) and self.keeps_up(middle):
                low = middle
            else:
                high = middle
        return low


class Memory(threading.Thread):
    """Samples the proportional set size of a gateway's processes, plans included, every 50 ms."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.samples, self.ended = pid, [], threading.Event()
        self.start()

    @staticmethod
    def pss_kib(pid):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except (OSError, StopIteration):
            return 0

    def family(self):
        pids, found = [self.pid], []
        while pids:
            pid = pids.pop()
            found.append(pid)
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as file:
                    pids += [int(child) for child in file.read().split()]
            except OSError:
                pass
        return found

    def mib(self):
        return sum(self.pss_kib(pid) for pid in self.family()) / 1024

    def run(self):
        while not self.ended.wait(0.05):
            self.samples.append(self.mib())

    def stop(self):
        self.ended.set()
        self.join()
        return max(self.samples)


def prepare(repository, folder):
    """Two versions of model B, and what they answer."""
    rows = mlp.inputs(SIZES[0], 16)
    mlp.write_npy(os.path.join(folder, "inputs.npy"), rows)
    for version in (1, 2):
        source = mlp.write(os.path.join(folder, str(version)), SIZES, version)
        mlp.write_npy(os.path.join(folder, f"reference_{version}.npy"),
                      mlp.answers(SIZES, version, rows))
        repository.publish(version, source, "b")


def judge(name, result, events, resets=True):
    """The rows every run has."""
    around = result["rtt_phases_us"]["during"]
    rows = [
        row(f"{name}: requests", result["requests"], "req"),
        row(f"{name}: events seen by the client", len(result["flips"]), f"of {events}"),
        row(f"{name}: lost", result["lost"], "req", aim=0 if resets else None),
        row(f"{name}: flows that mixed versions", result["mixed_version_flows"], "flows",
            aim=0 if resets else None),
        row(f"{name}: wrong outputs", result["wrong_outputs"], "req",
            aim=0 if resets else None),
    ]
    for key in ("resets", "retried", "not_sent", "socket_errors", "late"):
        if result.get(key) or key == "resets":
            rows.append(row(f"{name}: {key}", result[key], "", aim=0 if resets else None))
    for key, aim in (("p50", None), ("p99", None), ("p999", 1.05 if resets else None)):
        rows.append(row(f"{name}: round trip {key} within 100 ms of an event", around[key], "us",
                        result["steady"][key], aim))
    return rows


def cutovers(name, gateway, load, rate, count):
    """Promotes back and forth. Returns rows."""
    process = load.start(rate, count * EVERY_S + 5)
    time.sleep(2)
    flips, times = [], []
    version = gateway.live()["b"]
    for _ in range(count):
        due = time.monotonic() + EVERY_S
        version = 3 - version
        answer = gateway.verb("promote", "b", str(version))
        flips.append(answer["flip_us"])
        times.append(answer["took_ms"])
        time.sleep(max(0, due - time.monotonic()))
    rows = judge(name, harness.load_end(process, count * EVERY_S + 90), count)
    rows.append(row(f"{name}: flip system call, median", statistics.median(flips), "us"))
    rows.append(row(f"{name}: flip system call, worst", max(flips), "us"))
    rows.append(row(f"{name}: command to flip, packing included, median",
                    statistics.median(times), "ms"))
    return rows


def canaries(name, gateway, load, rate, count):
    process = load.start(rate, count * (EVERY_S + 0.4) + 5)
    time.sleep(2)
    version = gateway.live()["b"]
    for _ in range(count):
        version = 3 - version
        gateway.verb("rollout", "b", str(version), "--steps", CANARY_STEPS, "--hold",
                     CANARY_HOLD, "--max-error-rate", "off", "--max-p99", "off", "--max-drift", "off")
        assert gateway.live()["b"] == version
    result = harness.load_end(process, count * (EVERY_S + 0.4) + 90)
    return judge(name, result, count)


def rollbacks(gateway, count):
    """From command to flip with both generations in memory: nothing is packed or started."""
    times = []
    for _ in range(count):
        version = gateway.live()["b"]
        times.append(gateway.verb("rollback", "b")["took_ms"])
        gateway.verb("promote", "b", str(version))
        time.sleep(0.3)
    return [row("rollback: command to last new flow, median", statistics.median(times), "ms",
                aim=50),
            row("rollback: command to last new flow, worst", max(times), "ms", aim=50)]


def phases_of_a_start(gateway):
    """Packing, as the keeper measured it; start and warm-up: from STARTING to the flip's beginning."""
    log = gateway.log()

    def stamps(phase):
        return {int(found[2]): datetime.fromisoformat(found[1].rstrip("Z")).timestamp()
                for found in re.finditer(rf"time=(\S+) .*event=generation id=(\d+) phase={phase}",
                                         log)}

    started, live = stamps("starting"), stamps("live")
    packs = [float(ms) for ms in re.findall(r"event=pack.done .*took_ms=([0-9.]+)", log)]
    starts = [1000 * (live[number] - started[number]) for number in live if number in started]
    return [row("packing of model B, median", statistics.median(packs), "ms"),
            row("packing of model B, worst", max(packs), "ms"),
            row("start, warm-up and checks of its workers, median", statistics.median(starts),
                "ms")]


def while_a_large_model_loads(gateway, load, repository, folder, rate):
    source = mlp.write(os.path.join(folder, "big"), BIG, 1)
    memory_before = Memory(gateway.process.pid)
    time.sleep(1)
    steady_mib = memory_before.stop()
    memory = Memory(gateway.process.pid)
    process = load.start(rate, 30)
    time.sleep(2)
    started = time.monotonic()
    repository.publish(1, source, "big")
    harness.wait_for("the large model to be live", lambda: gateway.live().get("big") == 1
                     or gateway.live().get("b") is None, 60)
    took = time.monotonic() - started
    result = harness.load_end(process)
    peak_mib = memory.stop()
    shutil.rmtree(source)
    rows = judge("UDP while 197 MB load", result, 1)
    rows.append(row("UDP while 197 MB load: round trip p999, whole run", result["rtt_us"]["p999"],
                    "us", result["steady"]["p999"]))
    rows.append(row("197 MB model: from files to live", took, "s"))
    rows.append(row("197 MB model: memory, peak", peak_mib, "MiB", steady_mib))
    rows.append(row("197 MB model: memory, after", Memory.mib(memory), "MiB", steady_mib))
    return rows


# ---- what others do ----------------------------------------------------------------------------

NGINX = """
daemon off; master_process on; worker_processes 1; pid {folder}/nginx.pid;
worker_cpu_affinity {mask}; error_log {folder}/nginx.log; {modules}
events {{ worker_connections 4096; }}
stream {{ server {{ listen {address}:{port}; proxy_pass 127.0.0.1:{echo}; tcp_nodelay on; }} }}
"""

HAPROXY = """
global
  maxconn 4096
  cpu-map 1 {cpu}
  nbthread 1
  stats socket {folder}/haproxy.sock expose-fd listeners level admin
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
listen fgp
  bind {address}:{port}
  server echo 127.0.0.1:{echo}
"""


class Echo:
    def __init__(self, net, address, port, cpu, generation=1):
        argv = [os.path.join(harness.BUILD, "tests/bench/tcp_echo"), address, str(port), str(cpu),
                str(generation)]
        self.process = subprocess.Popen(net.command(net.gw, argv), stdout=subprocess.PIPE,
                                        text=True)
        assert self.process.stdout.readline() == "ready\n"

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        self.process.kill()
        self.process.wait()


def events_run(name, net, folder, port, act, count):
    """Load at half of this thing's own capacity, `act` every EVERY_S."""
    load = Load(net, folder, f"tcp://{harness.SERVER4}:{port}", checked=False)
    rate = load.capacity() // 2
    process = load.start(rate, count * EVERY_S + 5)
    time.sleep(2)
    for _ in range(count):
        act()
        time.sleep(EVERY_S)
    rows = judge(name, harness.load_end(process, count * EVERY_S + 90), count, resets=False)
    return [row(f"{name}: load", rate, "req/s"), *rows]


def proxy(name, net, folder, cpu, argv, reload, count):
    echo = Echo(net, "127.0.0.1", ECHO_PORT, cpu)
    libraries = ":".join(glob.glob(os.path.join(PROXIES, "usr/lib/*-linux-gnu")))
    process = subprocess.Popen(net.command(net.gw, argv), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL,
                               env={**os.environ, "LD_LIBRARY_PATH": libraries})
    try:
        time.sleep(1)
        assert process.poll() is None, f"{argv[0]} does not start"

        def act():
            process.send_signal(reload)
            echo.signal(10)  # SIGUSR1: the load tool sees when it happened

        return events_run(name, net, folder, PROXY_PORT, act, count)
    finally:
        process.terminate()
        process.wait(20)
        echo.stop()


def nginx(net, folder, cpu, count):
    module = os.path.join(PROXIES, "usr/lib/nginx/modules/ngx_stream_module.so")
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as file:
        file.write(NGINX.format(folder=folder, mask=format(1 << cpu, "b"),
                                modules=f"load_module {module};", address=harness.SERVER4,
                                port=PROXY_PORT, echo=ECHO_PORT))
    return proxy("nginx reload, TCP proxy", net, folder, cpu,
                 [os.path.join(PROXIES, "usr/sbin/nginx"), "-p", folder, "-c", path], 1, count)


def haproxy(net, folder, cpu, count):
    path = os.path.join(folder, "haproxy.cfg")
    with open(path, "w") as file:
        file.write(HAPROXY.format(folder=folder, cpu=cpu, address=harness.SERVER4,
                                  port=PROXY_PORT, echo=ECHO_PORT))
    return proxy("HAProxy reload, TCP proxy", net, folder, cpu,
                 [os.path.join(PROXIES, "usr/sbin/haproxy"), "-W", "-f", path], 12, count)


def reuseport(net, folder, cpu, count):
    """A new process binds the same port, then the old one closes its listener."""
    echoes = [Echo(net, harness.SERVER4, PROXY_PORT, cpu, 1)]

    def act():
        echoes.append(Echo(net, harness.SERVER4, PROXY_PORT, cpu, len(echoes) + 1))
        echoes[-2].signal(15)

    try:
        return events_run("SO_REUSEPORT hand-over without BPF", net, folder, PROXY_PORT, act,
                          count)
    finally:
        for echo in echoes:
            echo.stop()


def ease_ports(net):
    """The client opens hundreds of connections a second: old ones in TIME_WAIT must not use up its
    ports."""
    for setting in ("net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_tw_reuse=1"):
        harness.run(*net.command(net.cl, ["sysctl", "-qw", setting]))


def whole(net, repository, options, loads):
    """Cutovers and canaries, one transport after the other."""
    rows = []
    # Nothing is kept: each cutover packs and starts anew, and the load tool sees the new
    # generation in the replies (but one that is flipped back to while it drains).
    with harness.Gateway(net, repository, *options, "--listen-tcp",
                         f"{harness.SERVER4}:{TCP_PORT}", mode="native", poll="busy") as gateway:
        for name, load in loads:
            most = load.capacity()
            print(f"{name}: {most} requests a second; loading with half", flush=True)
            rows.append(row(f"{name}: capacity", most, "req/s"))
            rows += cutovers(name, gateway, load, most // 2, CUTOVERS)
            print(f"{name}: canaries", flush=True)
            rows += canaries(f"{name}, canary of 5 steps", gateway, load, most // 2, CUTOVERS)
        return rows + phases_of_a_start(gateway)


def kept(net, repository, options):
    with harness.Gateway(net, repository, *options, "--keep", "60s", mode="native",
                         poll="busy") as gateway:
        gateway.verb("promote", "b", str(3 - gateway.live()["b"]))
        return rollbacks(gateway, 10)


def large(net, repository, cpu, load, folder):
    print("a large model", flush=True)
    with harness.Gateway(net, repository, "--cpus", str(cpu), "--flow-idle", "200ms",
                         "--drain-deadline", "1s", mode="native", poll="busy") as gateway:
        return while_a_large_model_loads(gateway, load, repository, folder, load.capacity() // 2)


def others(net, folder, cpu):
    rows = []
    for run in (nginx, haproxy, reuseport):
        print(run.__name__, flush=True)
        if run != reuseport and not os.path.exists(f"{PROXIES}/usr/sbin/{run.__name__}"):
            print(f"{run.__name__} is not there: tests/bench/setup_proxies.sh says why")
            continue
        rows += run(net, folder, cpu, min(CUTOVERS, 20))
    return rows


def main():
    cpu = max(os.sched_getaffinity(0))
    repository = harness.Repository()
    folder = tempfile.mkdtemp(prefix="fgt-cutover-")
    options = ("--cpus", str(cpu), "--policy", "manual", "--flow-idle", "200ms",
               "--drain-deadline", "1s")
    rows = []
    try:
        prepare(repository, folder)
        with harness.Net() as net:
            ease_ports(net)
            loads = {"UDP": Load(net, folder, f"{harness.SERVER4}:{harness.PORT}"),
                     "TCP": Load(net, folder, f"tcp://{harness.SERVER4}:{TCP_PORT}")}
            chosen = [(name, loads[name]) for name in loads if name.lower() in PARTS]
            if chosen:
                rows += whole(net, repository, options, chosen)
            if "kept" in PARTS:
                rows += kept(net, repository, options)
            if "large" in PARTS:
                rows += large(net, repository, cpu, loads["UDP"], folder)
            if "others" in PARTS:
                rows += others(net, folder, cpu)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.write("cutover", rows)


if __name__ == "__main__":
    main()
