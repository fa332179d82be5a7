#!/usr/bin/env python3
"""Something around control hangs or is gone: an operator's rollback goes through all the same."""

import concurrent.futures
import ctypes
import fcntl
import os
import shutil
import signal
import time

from harness import (SERVER4, Client, Gateway, Net, Repository, digits_rows, libc, main, request,
                     wait_for)

ROW = digits_rows()[0]
ANSWER_S = 0.05  # a rollback's, from the start of the program that asks
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207


class Versions:
    """A gateway that has gone from version 1 to version 2, and keeps 1."""

    def __init__(self, net, **options):
        self.repository = Repository()
        self.repository.publish(1)
        self.gateway = Gateway(net, self.repository, "--keep", "60s", **options)

    def __enter__(self):
        gateway = self.gateway.__enter__()
        self.repository.publish(2)
        gateway.wait_live(2)
        wait_for("version 1 to be kept",
                 lambda: "kept" in {g["phase"] for g in gateway.status()["generations"]})
        return gateway

    def __exit__(self, *exc):
        self.gateway.__exit__(*exc)


def goes_back(gateway, client, within_s=ANSWER_S):
    """Rolls back, and says how long the answer took; a new flow gets version 1."""
    start = time.monotonic()
    said = gateway.verb("rollback", "digits")
    took_s = time.monotonic() - start
    assert said["ok"] and said["version"] == 1, said
    assert took_s < within_s, took_s
    assert client.ask(request(ROW)).version == 1
    return took_s


def nobody_reads_the_log():
    """Keeper, control and workers write to one pipe that is full."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with Net() as net:
        with Versions(net, stderr=writer) as gateway, Client(net) as client:
            os.set_blocking(writer, False)
            try:
                while True:
                    os.write(writer, b"x")
            except BlockingIOError:
                pass
            os.set_blocking(writer, True)
            goes_back(gateway, client)
            os.kill(gateway.workers()[0]["pid"], signal.SIGKILL)
            wait_for("the worker to be replaced",
                     lambda: any(worker["deaths"] for worker in gateway.workers()))
            assert client.ask(request(ROW)).status == "ok"
            os.set_blocking(reader, False)
            os.read(reader, 1 << 16)
            gateway.verb("promote", "digits", "2")
            text = os.read(reader, 1 << 16).decode()
            assert "event=log.lost lines=" in text, text
            assert gateway.status()["log"]["lost"] > 0, gateway.status()["log"]
    os.close(reader)
    os.close(writer)


def control_is_stopped():
    with Net() as net, Versions(net) as gateway, Client(net) as client:
        os.kill(gateway.status()["control_pid"], signal.SIGSTOP)
        goes_back(gateway, client)
        assert gateway.status()["control_restarts"] == 0
        assert "event=control.stopped" in gateway.log()


def control_hangs():
    """A debugger holds it: no signal wakes it, its parent is not told. The next one answers."""
    with Net() as net, Versions(net) as gateway, Client(net) as client:
        pid = gateway.status()["control_pid"]
        none = ctypes.c_void_p(0)
        assert libc.ptrace(PTRACE_SEIZE, pid, none, none) == 0
        assert libc.ptrace(PTRACE_INTERRUPT, pid, none, none) == 0
        os.waitpid(pid, 0x40000000)  # __WALL: it has stopped
        with concurrent.futures.ThreadPoolExecutor() as pool:
            back = pool.submit(goes_back, gateway, client, within_s=4)
            os.waitpid(pid, 0x40000000)  # its end is told to who traces it first
            back.result()
        status = gateway.status()
        assert status["control_restarts"] == 1 and status["control_pid"] != pid, status
        assert "event=control.kill" in gateway.log()


def the_pins_are_gone():
    with Net() as net, Versions(net) as gateway, Client(net) as client:
        shutil.rmtree(gateway.pins)
        goes_back(gateway, client)
        wait_for("the directory to be made again", lambda: os.path.exists(gateway.pins + "/slots"))
        gateway.verb("promote", "digits", "2")
        assert client.ask(request(ROW)).version == 2 or client.ask(request(ROW)).version == 1
        wait_for("the table to be pinned", lambda: os.path.exists(gateway.pins + "/table-0"))
        with Client(net, SERVER4) as fresh:
            assert fresh.ask(request(ROW)).version == 2
    assert not os.path.exists(gateway.pins)


if __name__ == "__main__":
    main(nobody_reads_the_log, control_is_stopped, control_hangs, the_pins_are_gone)
