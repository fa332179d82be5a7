"""A file system that can stop answering: a folder shown through FUSE, by a process that speaks the
kernel's protocol (linux/fuse.h) over /dev/fuse. Read-only."""

import atexit
import contextlib
import ctypes
import errno
import mmap
import os
import select
import signal
import struct
import tempfile
import traceback

libc = ctypes.CDLL(None, use_errno=True)
MS_NOSUID, MS_NODEV, MNT_DETACH = 2, 4, 2

HEADER = struct.Struct("<IIQQIIIHH")  # len opcode unique node uid gid pid extlen padding
LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS = 1, 2, 3, 14, 15, 17
RELEASE, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR = 18, 25, 26, 27, 28, 29
ACCESS, INTERRUPT, BATCH_FORGET = 34, 36, 42
ANSWERS, HANGS, HANGS_FOR_PACKERS = 0, 1, 2


class Server:
    """The process at the other end; `state` is a byte that the test writes."""

    def __init__(self, device, source, state):
        self.device, self.state = device, state
        self.paths, self.nodes = {1: source}, {source: 1}
        self.kept = []  # requests that nobody answers

    def run(self):
        while True:
            ready, _, _ = select.select([self.device], [], [], 0.02)
            if self.state[0] == ANSWERS:
                kept, self.kept = self.kept, []
                for data in kept:
                    self.take(data)
            if ready:
                self.take(os.read(self.device, 1 << 20))

    def hangs(self, pid):
        if self.state[0] != HANGS_FOR_PACKERS:
            return self.state[0] == HANGS
        try:
            with open(f"/proc/{pid}/comm") as file:
                return file.read().strip() in ("flipgated", "flipgate-pack")
        except FileNotFoundError:  # the kernel's own, or of one that is gone
            return False

    def take(self, data):
        _, operation, unique, node, _, _, pid, *_ = HEADER.unpack_from(data)
        if operation in (FORGET, BATCH_FORGET, INTERRUPT):
            return
        if self.hangs(pid):
            self.kept.append(data)
            return
        try:
            body, error = self.answer(operation, node, data[HEADER.size:]), 0
        except OSError as failure:
            body, error = b"", -failure.errno
        with contextlib.suppress(FileNotFoundError):  # nobody waits any more
            os.write(self.device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)

    def attributes(self, path):
        info = os.stat(path)
        times = [info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns]
        return struct.pack("<6Q10I", info.st_ino, info.st_size, info.st_blocks,
                           *[time // 10**9 for time in times], *[time % 10**9 for time in times],
                           info.st_mode, info.st_nlink, info.st_uid, info.st_gid, 0, 4096, 0)

    def node_of(self, path):
        if path not in self.nodes:
            self.nodes[path] = len(self.nodes) + 1
            self.paths[self.nodes[path]] = path
        return self.nodes[path]

    def answer(self, operation, node, data):
        path = self.paths.get(node)
        if operation == INIT:
            major, minor = struct.unpack_from("<II", data)
            return struct.pack("<IIIIHHII", major, min(minor, 31), 65536, 0, 16, 12, 65536,
                               1) + bytes(36)
        if operation == LOOKUP:
            path = os.path.join(path, data.rstrip(b"\0").decode())
            attributes = self.attributes(path)
            return struct.pack("<QQQQII", self.node_of(path), 0, 0, 0, 0, 0) + attributes
        if operation == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self.attributes(path)
        if operation in (OPEN, OPENDIR):
            return struct.pack("<QIi", 0, 0, 0)
        if operation == READ:
            _, offset, size = struct.unpack_from("<QQI", data)
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(size)
        if operation == READDIR:
            _, offset, size = struct.unpack_from("<QQI", data)
            return self.entries(path, offset, size)
        if operation in (RELEASE, RELEASEDIR, FLUSH, ACCESS):
            return b""
        if operation == STATFS:
            return bytes(80)
        raise OSError(errno.ENOSYS, "")

    @staticmethod
    def entries(path, offset, size):
        body = b""
        for number, name in enumerate([".", "..", *sorted(os.listdir(path))][offset:], offset + 1):
            entry = struct.pack("<QQII", number, number, len(name), 0) + name.encode()
            entry += bytes(-len(entry) % 8)
            if len(body) + len(entry) > size:
                break
            body += entry
        return body


class Mount:
    """`source` seen at `path`, by a server that can hang."""

    def __init__(self, source):
        self.source = source
        self.state = mmap.mmap(-1, 1)
        self.server = 0

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="fgt-fuse-")
        os.chmod(self.path, 0o755)
        atexit.register(self.close)
        device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
        if libc.mount(b"fgt", self.path.encode(), b"fuse", MS_NOSUID | MS_NODEV, options.encode()):
            raise OSError(ctypes.get_errno(), "mounting FUSE")
        self.server = os.fork()
        if not self.server:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                Server(device, self.source, self.state).run()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(device)
        return self

    def set(self, state):
        self.state[0] = state

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Whoever hangs there gets an error then: the connection ends with its server."""
        if self.server:
            os.kill(self.server, signal.SIGKILL)
            os.waitpid(self.server, 0)
            self.server = 0
        libc.umount2(self.path.encode(), MNT_DETACH)
        with contextlib.suppress(OSError):
            os.rmdir(self.path)
        atexit.unregister(self.close)
