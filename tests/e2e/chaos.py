"""Random operator commands and kill -9 of any process, under load: one seed, one story.

`Chaos` keeps a gateway running over many seeds. A story lasts about two seconds: a load of checked
requests over UDP or TCP, and meanwhile promotes, canaries, pauses, aborts, shadows, rollbacks,
published and broken versions, and the deaths of control, workers, packers and of the keeper itself.
Always: no output is wrong; no flow mixes versions, but the flows of a worker that was killed, which
have to go on somewhere; without a dead worker or keeper nothing is lost; afterwards everything comes
to rest, and it serves.
"""

import os
import random
import shutil
import signal
import time

from harness import (DIGITS, SERVER4, Client, Gateway, Net, Repository, digits_rows, load_end,
                     load_start, request, wait_for)

TCP_PORT = 9001
LOAD_S, FLOWS = 1.6, 24
HELD = 64  # requests that a worker may hold when it dies


class Chaos:
    def __init__(self):
        self.repository = Repository()
        self.repository.publish(1)
        self.repository.publish(2)
        self.net = Net()
        self.gateway = None

    def __enter__(self):
        self.net.__enter__()
        self.start()
        return self

    def __exit__(self, *exc):
        if self.gateway:
            self.gateway.__exit__(*exc)
        self.net.__exit__(*exc)

    def start(self):
        gateway = Gateway(self.net, self.repository, "--cpus", "0,1", "--policy", "manual",
                          "--flow-idle", "100ms", "--drain-deadline", "500ms", "--keep", "1s",
                          "--listen-tcp", f"{SERVER4}:{TCP_PORT}")
        if self.gateway:  # where the one before stood: what that left behind must not matter
            gateway.pins, gateway.socket = self.gateway.pins, self.gateway.socket
            gateway.argv = self.gateway.argv
        self.gateway = gateway
        gateway.__enter__()

    # ---- events ----

    def verb(self, *argv):
        return self.gateway.verb(*argv, check=False)

    def promote(self, rng):
        self.verb("promote", "digits", str(rng.choice((1, 2))))

    def rollback(self, _):
        self.verb("rollback", "digits")

    def canary(self, rng):
        live = self.gateway.live().get("digits", 1)
        self.verb("rollout", "digits", str(3 - live), "--steps", "10%,40%,100%", "--hold",
                  rng.choice(("50ms", "200ms", "5s")), "--max-drift", rng.choice(("off", "0.001")),
                  "--min-requests", "20", "--no-wait")

    def steer_canary(self, rng):
        self.verb(rng.choice(("pause", "resume", "abort")), "digits")

    def shadow(self, rng):
        live = self.gateway.live().get("digits", 1)
        if rng.random() < 0.3:
            self.verb("shadow", "digits", "--stop")
        else:
            self.verb("shadow", "digits", str(3 - live), "--share", "20%", "--no-wait")

    def publish(self, rng):
        """A version that works, or one that does not; policy manual, so neither serves."""
        version = rng.randrange(100, 10000)
        if not os.path.exists(os.path.join(self.repository.path, "digits", str(version))):
            if rng.random() < 0.5:
                self.repository.publish(version, os.path.join(DIGITS, "1"))
            else:
                self.repository.write(version, {"model.onnx": rng.randbytes(300)})
            self.verb("rollout", "digits", str(version), "--steps", "1%,100%", "--hold", "5s",
                      "--no-wait", "--wait", "100ms")
            self.verb("abort", "digits")
            shutil.rmtree(os.path.join(self.repository.path, "digits", str(version)),
                          ignore_errors=True)

    def kill_control(self, _):
        pid = self.verb("status").get("control_pid")
        if pid:
            self.kill(pid)

    def kill_worker(self, rng):
        workers = [w["pid"] for w in self.verb("status").get("workers", ())
                   if w["phase"] == "ready"]
        if len(workers) >= 2:
            self.kill(rng.choice(workers))
            self.dead_workers += 1

    def kill_packer(self, _):
        """Publishes a version to have a packer to kill."""
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/comm") as file:
                    ours = file.read().strip() == "flipgate-pack"
                with open(f"/proc/{entry}/status") as file:
                    parent = f"PPid:\t{self.gateway.process.pid}\n" in file.read()
            except OSError:
                continue
            if ours and parent:
                self.kill(int(entry))

    def kill_keeper(self, _):
        self.gateway.process.kill()
        self.gateway.process.wait()
        self.dead_keepers += 1
        self.start()

    @staticmethod
    def kill(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    # ---- a story ----

    def run(self, seed):
        """Raises AssertionError when something is not as it must be."""
        rng = random.Random(seed)
        self.dead_workers = self.dead_keepers = 0
        address = rng.choice((None, f"tcp://{SERVER4}:{TCP_PORT}"))
        events = [self.promote, self.promote, self.canary, self.canary, self.steer_canary,
                  self.shadow, self.rollback, self.publish, self.kill_control, self.kill_worker,
                  self.kill_packer] + [self.kill_keeper] * (rng.random() < 0.15)
        process = load_start(self.net, "--duration", str(LOAD_S), "--rate", "1500", "--flows",
                             str(FLOWS), "--flow-requests", "20", address=address)
        end = time.monotonic() + LOAD_S - 0.2
        story = []
        while time.monotonic() < end:
            time.sleep(rng.uniform(0.02, 0.25))
            event = rng.choice(events)
            story.append(event.__name__)
            event(rng)
        result = load_end(process)
        self.judge(f"seed {seed} {address or 'udp'} {' '.join(story)}", result)
        self.rest(f"seed {seed}: {' '.join(story)}")
        return result

    def judge(self, story, result):
        said = (story, {key: result[key] for key in ("lost", "requests", "errors")})
        assert result["wrong_outputs"] == 0, (said, result)
        if not self.dead_keepers:
            assert result["mixed_version_flows"] <= self.dead_workers * FLOWS, (said, result)
            assert result["lost"] <= self.dead_workers * HELD, said

    def rest(self, story):
        """Nothing is left half done, and a request is answered."""
        self.verb("abort", "digits")
        self.verb("shadow", "digits", "--stop")

        def calm():
            phases = {g["phase"] for g in self.verb("status").get("generations", ())}
            return phases == {"live"} and len(self.gateway.workers()) == 2

        wait_for(f"calm after {story}", calm, 20)
        with Client(self.net) as client:
            reply = client.ask(request(digits_rows()[0]))
            assert reply and reply.status == "ok", (story, reply and reply.status)
