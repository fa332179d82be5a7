"""What the end-to-end tests share: namespaces, a gateway, a small FGP client, and TAP.

Every test makes two network namespaces with a veth pair between them, starts the real flipgated in
one and talks to it from the other. All that was made is removed when the test ends, also by an
error or SIGINT; names carry the process id, so that two runs do not meet.
"""

import array
import ast
import atexit
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
DIGITS = os.path.join(ROOT, "tests/data/digits")
PORT = 9000
SERVER4, CLIENT4 = "10.77.0.1", "10.77.0.2"
SERVER6, CLIENT6 = "fd77::1", "fd77::2"
CLONE_NEWNET = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)


def program(name):
    return os.path.join(BUILD, "bin", name)


def run(*argv, check=True, timeout=60):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def wait_for(what, condition, timeout_s=10.0, every_s=0.02):
    """Polls until condition() is true and returns its value; fails naming `what`."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s} s for {what}")
        time.sleep(every_s)


class Net:
    """Two namespaces, `gw` with device gw0 and `cl` with cl0, on one veth pair."""

    def __init__(self, mtu=1500, tag=None, queues=1):
        tag = tag or f"fgt-{os.getpid()}-{os.urandom(2).hex()}"
        self.gw, self.cl = f"{tag}-gw", f"{tag}-cl"
        self.mtu, self.queues = mtu, str(queues)

    def __enter__(self):
        atexit.register(self.close)
        for name in (self.gw, self.cl):
            run("ip", "netns", "add", name)
        queues = ("numtxqueues", self.queues, "numrxqueues", self.queues)
        run("ip", "link", "add", "gw0", "mtu", str(self.mtu), *queues, "netns", self.gw, "type",
            "veth", "peer", "name", "cl0", "mtu", str(self.mtu), *queues, "netns", self.cl)
        for name, device, v4, v6 in ((self.gw, "gw0", SERVER4, SERVER6),
                                     (self.cl, "cl0", CLIENT4, CLIENT6)):
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "addr", "add", f"{v4}/24", "dev", device)
            run("ip", "-n", name, "addr", "add", f"{v6}/64", "dev", device, "nodad")
            run("ip", "-n", name, "link", "set", device, "up")
            run("nsenter", f"--net=/run/netns/{name}", "ethtool", "-K", device, "tx", "off")
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        for name in (self.gw, self.cl):
            run("ip", "netns", "del", name, check=False)
        atexit.unregister(self.close)

    @staticmethod
    def command(name, argv):
        return ["nsenter", f"--net=/run/netns/{name}", *argv]

    @contextlib.contextmanager
    def inside(self, name):
        """Sockets made in this block belong to namespace `name`."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{name}", os.O_RDONLY)
        try:
            assert libc.setns(there, CLONE_NEWNET) == 0
            yield
        finally:
            assert libc.setns(home, CLONE_NEWNET) == 0
            os.close(home)
            os.close(there)


class Repository:
    """A model repository in a temporary folder."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="fgt-repository-")
        os.chmod(self.path, 0o755)
        atexit.register(self.close)

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)

    def publish(self, version, source=None, model="digits"):
        """Copies a version directory in under another name, then renames it: complete at once."""
        target = os.path.join(self.path, model, str(version))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copytree(source or os.path.join(DIGITS, str(version)), target + ".tmp")
        run("chmod", "-R", "a+rX", os.path.join(self.path, model))
        os.rename(target + ".tmp", target)
        return target

    def write(self, version, files, model="digits"):
        """Publishes a version of the given {name: bytes}."""
        source = tempfile.mkdtemp(prefix="fgt-version-")
        for name, data in files.items():
            with open(os.path.join(source, name), "wb") as file:
                file.write(data)
        os.chmod(source, 0o755)
        try:
            return self.publish(version, source, model)
        finally:
            shutil.rmtree(source)


class Gateway:
    """A running flipgated; `with Gateway(net, repository) as gateway`."""

    def __init__(self, net, repository, *args, mode="native", listen=None, interface="gw0",
                 ready=True, poll="adaptive", stderr=None):
        """`stderr`: a descriptor to log to, instead of a file."""
        self.net, self.ready, self.stderr = net, ready, stderr
        self.folder = tempfile.mkdtemp(prefix="fgt-run-")
        self.socket = os.path.join(self.folder, "control.sock")
        self.pins = f"/sys/fs/bpf/fgt-{os.getpid()}-{os.urandom(2).hex()}"
        self.log_path = os.path.join(self.folder, "log")
        listen = listen or [f"{SERVER4}:{PORT}", f"[{SERVER6}]:{PORT}"]
        self.argv = [program("flipgated"), "--repository", repository.path, "--socket",
                     self.socket, "--pin-dir", self.pins, "--poll", poll]
        for address in listen:
            self.argv += ["--listen", address]
        if interface:
            self.argv += ["--interface", interface]
        if mode:
            self.argv += ["--mode", mode]
        if "--keep" not in args:
            args += ("--keep", "0s")
        self.argv += args
        self.process = None

    def __enter__(self):
        atexit.register(self.stop)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self.net.command(self.net.gw, self.argv), stdout=log, stdin=subprocess.DEVNULL,
                stderr=log if self.stderr is None else self.stderr)
        if self.ready:
            wait_for("the gateway to be ready", self.is_ready)
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            sys.stderr.write(f"--- log of the gateway\n{self.log()}---\n")
        self.stop()

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"flipgated ended with {self.process.returncode}: {self.log()}")
        return os.path.exists(self.socket) and self.status(check=False).get("ready")

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def stop(self, timeout_s=30):
        """Stops politely and says how it ended; harder when it does not."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                shutil.rmtree(self.pins, ignore_errors=True)
        atexit.unregister(self.stop)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)
        return self.process.returncode if self.process else None

    def verb(self, *argv, check=True):
        """Runs a verb of the flipgate command on the control socket; returns its JSON."""
        done = run(program("flipgate"), *argv, "--socket", self.socket, "--output", "json",
                   check=False)
        if check and done.returncode:
            raise AssertionError(f"flipgate {' '.join(argv)}: {done.stdout}{done.stderr}")
        said = done.stdout.strip().splitlines()  # a verb that follows says more than one thing
        return json.loads(said[-1]) if said else {"code": done.returncode}

    def status(self, check=True):
        return self.verb("status", check=check)

    def counters(self):
        return self.status()["counters"]

    def live(self):
        """{model: version} of the live generation."""
        for generation in self.status()["generations"]:
            if generation["phase"] == "live":
                return {entry["model"]: entry["version"] for entry in generation["models"]}
        return {}

    def wait_live(self, version, model="digits", timeout_s=15):
        wait_for(f"{model} version {version} to be live",
                 lambda: self.live().get(model) == version, timeout_s)

    def workers(self, phase="ready"):
        return [worker for worker in self.status()["workers"] if worker["phase"] == phase]


def load_start(net, *args, address=None):
    """Starts `flipgate load` in the client's namespace; finish with load_end."""
    argv = [program("flipgate"), "load", address or f"{SERVER4}:{PORT}", "digits", "--input",
            os.path.join(DIGITS, "inputs.npy"), "--output", "json"]
    for version in (1, 2):
        argv += ["--expect", f"{version}={DIGITS}/reference_{version}.npy"]
    return subprocess.Popen(net.command(net.cl, [*argv, *args]), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def load_end(process, timeout_s=120):
    out, err = process.communicate(timeout=timeout_s)
    if not out.strip():
        raise AssertionError(f"flipgate load: {process.returncode} {err}")
    return json.loads(out)


def load(net, *args, address=None):
    return load_end(load_start(net, *args, address=address))


# ---- a client in Python, for what the real one would never send --------------------------------

HEADER = struct.Struct("<IBBHIBBHQQQIIIIII")
STATUS = ["ok", "bad_request", "unknown_model", "unknown_version", "bad_shape", "bad_dtype",
          "too_many_rows", "deadline", "reply_too_long", "overloaded", "internal",
          "bad_value"]


def xxh32(data, seed=0):
    """XXH32 for inputs below 16 bytes (the model names of the tests)."""
    p1, p2, p3, p4, p5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
    mask = 0xffffffff
    rotate = lambda v, n: (v << n | v >> (32 - n)) & mask
    assert len(data) < 16
    acc = (seed + p5 + len(data)) & mask
    at = 0
    while at + 4 <= len(data):
        acc = rotate((acc + int.from_bytes(data[at:at + 4], "little") * p3) & mask, 17) * p4 & mask
        at += 4
    for byte in data[at:]:
        acc = rotate((acc + byte * p5) & mask, 11) * p1 & mask
    acc = ((acc ^ acc >> 15) * p2) & mask
    acc = ((acc ^ acc >> 13) * p3) & mask
    return acc ^ acc >> 16


def request(payload=b"", rows=1, cols=64, model=b"digits", dtype=1, affinity=0, version=0,
            request_id=1, deadline_us=0, magic=0x31504746, protocol=1, kind=1, flags=0,
            payload_bytes=None, zero=0):
    return HEADER.pack(magic, protocol, kind, flags, xxh32(model), dtype, 0, 0, affinity,
                       request_id, version, rows, cols,
                       len(payload) if payload_bytes is None else payload_bytes, 0, deadline_us,
                       zero) + payload


class Reply:
    def __init__(self, data):
        (self.magic, self.protocol, self.kind, self.flags, self.model, self.dtype, status, _,
         self.affinity, self.request_id, self.version, self.rows, self.cols, self.payload_bytes,
         self.generation, self.queued_ns, self.compute_ns) = HEADER.unpack_from(data)
        self.status = STATUS[status]
        self.payload = data[HEADER.size:HEADER.size + self.payload_bytes]
        self.length = len(data)

    @property
    def text(self):
        return self.payload.decode()

    def floats(self):
        return struct.unpack(f"<{len(self.payload) // 4}f", self.payload)


class Client:
    """A UDP socket in the client's namespace, or in another."""

    def __init__(self, net, address=SERVER4, port=PORT, source_port=0, space=None):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with net.inside(space or net.cl):
            self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(("", source_port))
        self.socket.connect((address, port))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def send(self, data):
        self.socket.send(data)

    def receive(self, timeout_s=2.0):
        """The next reply, or None when none came."""
        self.socket.settimeout(timeout_s)
        try:
            return Reply(self.socket.recv(65536))
        except socket.timeout:
            return None

    def ask(self, data, timeout_s=2.0):
        self.send(data)
        return self.receive(timeout_s)


def load_npy(path):
    """Rows of float32, as a list of array('f')."""
    with open(path, "rb") as file:
        data = file.read()
    start = 10 + int.from_bytes(data[8:10], "little")
    header = ast.literal_eval(data[10:start].decode())
    assert header["descr"] == "<f4" and not header["fortran_order"], header
    rows, cols = header["shape"]
    return [array.array("f", data[start + row * cols * 4:start + (row + 1) * cols * 4])
            for row in range(rows)]


def digits_rows():
    """The test rows as bytes, 64 f32 each."""
    return [row.tobytes() for row in load_npy(os.path.join(DIGITS, "inputs.npy"))]


def reference(version):
    """onnxruntime's outputs for the test rows, 10 floats each."""
    return load_npy(os.path.join(DIGITS, f"reference_{version}.npy"))


def close_to(got, wanted, tolerance=1e-4):
    return len(got) == len(wanted) and all(abs(a - b) <= tolerance for a, b in zip(got, wanted))


# ---- TAP -----------------------------------------------------------------------------------------

def main(*tests):
    """Runs the tests (functions, or (name, function)) in order, prints TAP, exits 1 on failure."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, test in enumerate(tests, 1):
        name, function = test if isinstance(test, tuple) else (test.__name__, test)
        began = time.monotonic()
        try:
            function()
            print(f"ok {number} - {name} # {time.monotonic() - began:.1f} s", flush=True)
        except Exception:  # the next test may still tell something
            failed += 1
            print(f"not ok {number} - {name}")
            print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()),
                  flush=True)
    sys.exit(1 if failed else 0)
