#!/usr/bin/env python3
"""make demo: handwritten digits through the gateway, a new model version half-way, and a bad one.

Two network namespaces and a veth pair; the gateway in one, `flipgate load` in the other. The load
tool sends the held-out test rows as many flows and checks every answer against what onnxruntime
said. Then a third version, which has learnt nothing, is rolled out as a canary under load: a guard
sees its scores drift and takes it back. KEEP=1 leaves it all serving; `tests/demo/demo.py --stop`
ends that.
"""

import atexit
import json
import os
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
import harness  # noqa: E402  (the path above)
import mlp  # noqa: E402

FOLDER = os.path.join(harness.BUILD, "demo")
STATE = os.path.join(FOLDER, "running.json")
TAG = "flipgate-demo"
SECONDS, RATE, FLOWS, FLOW_REQUESTS = 12, 4000, 64, 60
CANARY_SECONDS, CANARY_STEPS = 5, "5%,25%,100%"
COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def bold(text):
    return paint("1", text)


def good(text):
    return paint("32", text)


def say(text=""):
    print(text, flush=True)


def step(what, detail=""):
    say(f"  {paint('36', '>')} {what}" + (f"  {paint('2', detail)}" if detail else ""))


def stop_kept():
    """Ends what an earlier KEEP=1 left."""
    try:
        with open(STATE) as file:
            kept = json.load(file)
    except FileNotFoundError:
        return False
    try:
        with open(f"/proc/{kept['pid']}/comm") as file:
            ours = file.read().startswith("flipgate")
    except FileNotFoundError:
        ours = False
    if ours:
        os.kill(kept["pid"], signal.SIGTERM)
        harness.wait_for("the gateway to stop",
                         lambda: not os.path.exists(f"/proc/{kept['pid']}"), 60)
    for name in (f"{TAG}-gw", f"{TAG}-cl"):
        harness.run("ip", "netns", "del", name, check=False)
    for folder in (kept["repository"], kept["folder"]):
        shutil.rmtree(folder, ignore_errors=True)
    os.unlink(STATE)
    return True


def pack_ms(gateway, version):
    for model in gateway.status()["models"]:
        for one in model["versions"]:
            if one["version"] == version:
                return one["pack_ms"], one["plan_bytes"]
    return 0, 0


def serve_and_publish(net, repository, gateway):
    """Runs the load, publishes version 2 in its middle, returns (report, last flip)."""
    process = harness.load_start(net, "--rate", str(RATE), "--duration", str(SECONDS), "--flows",
                                 str(FLOWS), "--flow-requests", str(FLOW_REQUESTS), "--labels",
                                 os.path.join(harness.DIGITS, "labels.npy"))
    time.sleep(SECONDS / 2)
    repository.publish(2)
    started = time.monotonic()
    step("published version 2", "cp -r, then mv into digits/2; flipgate promote digits 2")
    harness.wait_for("version 2", lambda: gateway.verb("promote", "digits", "2",
                                                       check=False).get("ok"))
    took_ms, size = pack_ms(gateway, 2)
    flip = gateway.status()["flips"]["last"]
    step(f"version 2 is live {1000 * (time.monotonic() - started):.0f} ms later",
         f"packed in {took_ms:.0f} ms to {size:,} bytes; the flip took {flip['took_us']:.0f} us")
    report = harness.load_end(process)
    return report, flip


def roll_out_a_bad_one(net, repository, gateway):
    """Version 3 is random: a canary of a few flows, until a guard breaks. Returns what was seen."""
    source = os.path.join(FOLDER, "bad")
    repository.publish(3, mlp.write(source, (64, 32, 10), 3))
    shutil.rmtree(source)
    process = harness.load_start(net, "--rate", str(RATE), "--duration", str(CANARY_SECONDS),
                                 "--flows", str(FLOWS), "--flow-requests", str(FLOW_REQUESTS),
                                 "--labels", os.path.join(harness.DIGITS, "labels.npy"))
    time.sleep(1)
    step(f"flipgate rollout digits 3 --steps {CANARY_STEPS} --hold 10s",
         "version 3 has learnt nothing")
    started = time.monotonic()
    gateway.verb("rollout", "digits", "3", "--steps", CANARY_STEPS, "--hold", "10s",
                 "--min-requests", "100", "--no-wait")
    harness.wait_for("a guard to break",
                     lambda: gateway.status()["canary"]["phase"] == "broken", CANARY_SECONDS)
    canary = gateway.status()["canary"]
    step(f"taken back after {time.monotonic() - started:.1f} s", canary["reason"])
    return canary, harness.load_end(process)


def chart(timeline, flips):
    """The p99 of every 100 ms as a row of bars, with the flip marked below."""
    bars = " ▁▂▃▄▅▆▇█"
    top = sorted(point["p99"] for point in timeline)[int(len(timeline) * 0.95)] or 1
    line = "".join(bars[min(8, max(1, round(8 * point["p99"] / top)))] for point in timeline)
    mark = [" "] * (len(line) + 24)
    for flip in flips:
        at = min(len(line) - 1, int(flip["at_s"] * 10))
        mark[at:at + 24] = list("^ version 2 takes over".ljust(24))
    return line, "".join(mark).rstrip(), top


def make_summary(report, flip, status):
    phases = report["rtt_phases_us"]
    pick = ("p50", "p99", "p999")
    return {
        "requests": report["requests"],
        "replies": report["replies"],
        "lost": report["lost"],
        "mixed_version_flows": report["mixed_version_flows"],
        "wrong_outputs": report["wrong_outputs"],
        "accuracy_v1": report["versions"]["1"]["accuracy"],
        "accuracy_v2": report["versions"]["2"]["accuracy"],
        "rtt_us": {name: {key: phases[name][key] for key in pick}
                   for name in ("before", "during", "after")},
        "flip_us": flip["took_us"],
        "mode": status["mode"],
    }


def show(summary, report):
    flows = report["flows"]
    line, mark, top = chart(report["timeline"], report["flips"])
    say()
    say(bold("  What the clients saw"))
    say(f"    requests   {summary['requests']:>8,}   sent as {flows['total']:,} flows")
    say(f"    replies    {summary['replies']:>8,}   all compared with onnxruntime's outputs")
    for name, key in (("lost", "lost"), ("wrong", "wrong_outputs"),
                      ("mixed", "mixed_version_flows")):
        value = summary[key]
        say(f"    {name:<10} {(good if value == 0 else bold)(f'{value:>8}')}"
            + ("   flows that saw both versions" if name == "mixed" else ""))
    say()
    say(bold("  Versions"))
    for version in ("1", "2"):
        say(f"    version {version}: accuracy {100 * summary[f'accuracy_v{version}']:.2f} %, "
            f"{flows['began_on'].get(version, 0):,} flows began on it, "
            f"{flows['finished_on'].get(version, 0):,} finished on it")
    say(f"    largest difference to onnxruntime: {report['max_abs_error']:.1e}")
    say()
    say(bold("  Round trip, microseconds") + "        p50       p99     p99.9")
    for name in ("before", "during", "after"):
        times = summary["rtt_us"][name]
        say(f"    {name:<7} the cutover      " + "".join(
            f"{times[key]:>10.1f}" for key in ("p50", "p99", "p999")))
    say()
    say(f"    p99 of every 100 ms (full bar: {top:.0f} us)")
    say(f"    {line}")
    say(f"    {paint('33', mark)}")


def show_canary(canary, report):
    seen = canary["seen"]
    say()
    say(bold("  The bad version"))
    say(f"    {canary['weight'] or CANARY_STEPS.split(',')[0].rstrip('%')} % of new flows met it: "
        f"{seen['canary_requests']:,} answers of its own, next to {seen['stable_requests']:,} "
        "of version 2")
    say(f"    guard: {canary['reason']}")
    say(f"    version 2 serves on; lost {good('0') if not report['lost'] else report['lost']}, "
        f"mixed {good('0') if not report['mixed_version_flows'] else report['mixed_version_flows']}")


def show_commands(net, gateway):
    flipgate = os.path.relpath(harness.program("flipgate"), os.getcwd())
    inside = f"ip netns exec {net.cl}"
    digits = os.path.relpath(harness.DIGITS, os.getcwd())
    say(bold("  It goes on serving. Try:"))
    for command in (
            f"{flipgate} status --socket {gateway.socket}",
            f"{flipgate} promote digits 1 --socket {gateway.socket}",
            f"{flipgate} rollback digits --socket {gateway.socket}",
            f"{flipgate} rollout digits 1 --steps 10%,50%,100% --hold 5s --max-drift off "
            f"--no-wait --socket {gateway.socket}",
            f"{inside} {flipgate} infer {harness.SERVER4}:{harness.PORT} digits "
            f"--input {digits}/inputs.npy --rows 0:1",
            f"{inside} {flipgate} load {harness.SERVER4}:{harness.PORT} digits "
            f"--input {digits}/inputs.npy --rate 5000 --duration 5",
            f"{flipgate} inspect {digits}/2/model.onnx",
            f"{os.path.relpath(os.path.abspath(__file__), os.getcwd())} --stop"):
        say(f"    {command}")


def keep(net, repository, gateway):
    for owner in (net, repository):
        atexit.unregister(owner.close)
    atexit.unregister(gateway.stop)
    with open(STATE, "w") as file:
        json.dump({"pid": gateway.process.pid, "repository": repository.path,
                   "folder": gateway.folder}, file)
    show_commands(net, gateway)


def ok(summary, bad, after):
    return (bad["phase"] == "broken" and after["lost"] == after["mixed_version_flows"] == 0
            and summary["lost"] == summary["mixed_version_flows"] == summary["wrong_outputs"] == 0
            and summary["requests"] == summary["replies"] > 0)


def main():
    if "--stop" in sys.argv:
        say("stopped" if stop_kept() else "nothing was left serving")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.makedirs(FOLDER, exist_ok=True)
    stop_kept()
    say()
    say(bold("  flipgate: model versions change under load"))
    say()
    poll = "busy" if os.cpu_count() > 1 else "adaptive"
    repository = harness.Repository()
    repository.publish(1)
    net = harness.Net(tag=TAG).__enter__()
    step("two hosts, one cable", "network namespaces and a veth pair")
    gateway = harness.Gateway(net, repository, "--flow-idle", "300ms", "--keep", "2s",
                              "--policy", "manual", mode=None, poll=poll)
    started = time.monotonic()
    gateway.__enter__()
    status = gateway.status()
    step(f"the gateway is ready after {status['ready_after_ms']:.0f} ms",
         f"mode {status['mode']}, {len(status['workers'])} worker, polling {poll}")
    step(f"{RATE:,} requests a second for {SECONDS} s, {FLOWS} flows at a time",
         f"a flow ends after {FLOW_REQUESTS} requests and a new one begins")
    report, flip = serve_and_publish(net, repository, gateway)
    summary = make_summary(report, flip, status)
    with open(os.path.join(FOLDER, "summary.json"), "w") as file:
        json.dump(summary, file, indent=1)
    bad, after = roll_out_a_bad_one(net, repository, gateway)
    show(summary, report)
    show_canary(bad, after)
    say()
    if os.environ.get("KEEP"):
        keep(net, repository, gateway)
    else:
        gateway.stop()
        net.close()
        repository.close()
        say(f"  The numbers are in {os.path.relpath(FOLDER, os.getcwd())}/summary.json; "
            "make demo KEEP=1 leaves it serving.")
    say()
    fine = ok(summary, bad, after)
    say(f"  {good('Nothing was lost, nothing was mixed.') if fine else bold('It FAILED.')}"
        f"  ({time.monotonic() - started:.0f} s)")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
