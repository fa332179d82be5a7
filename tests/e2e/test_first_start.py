#!/usr/bin/env python3
"""The first start with files that are fresh, or have times of the future (an init container has just
copied them): the newest version serves first, and policy manual stays at it."""

import os
import shutil
import time

from harness import DIGITS, Gateway, Net, Repository, main, run, wait_for


def fill(ahead_s):
    """Version 1 is old; version 2 was just copied, by a clock that may be ahead."""
    repository = Repository()
    repository.publish(1)
    time.sleep(1.3)
    path = os.path.join(repository.path, "digits/2")
    shutil.copytree(os.path.join(DIGITS, "2"), path)  # and nobody touches version 1
    run("chmod", "-R", "a+rX", path)
    for folder, _, files in os.walk(path):
        for name in [folder, *(os.path.join(folder, name) for name in files)]:
            os.utime(name, (time.time() + ahead_s,) * 2)
    return repository


def the_newest_is_first(ahead_s, *args):
    with Net() as net, Gateway(net, fill(ahead_s), *args) as gateway:
        assert gateway.live() == {"digits": 2}, gateway.log()
        status = gateway.status()
        assert status["flips"]["count"] == 1 and status["ready_after_ms"] < 4000, status["flips"]
        time.sleep(0.5)
        assert gateway.live() == {"digits": 2}


def fresh_files():
    the_newest_is_first(0)


def files_of_the_future():
    the_newest_is_first(3600)


def manual_stays_there():
    for ahead_s in (0, 3600):
        the_newest_is_first(ahead_s, "--policy", "manual")


def a_copy_that_goes_on_is_not_waited_for_for_ever():
    repository = fill(0)
    path = os.path.join(repository.path, "digits/2/notes")
    with Net() as net, Gateway(net, repository, ready=False) as gateway:
        began = time.monotonic()

        def copy():
            with open(path, "a") as file:
                file.write("more\n")
            return gateway.status(check=False).get("ready")

        wait_for("it to be ready", copy, 10, 0.05)
        assert gateway.live() == {"digits": 1} and time.monotonic() - began > 4
        gateway.wait_live(2)


if __name__ == "__main__":
    main(fresh_files, files_of_the_future, manual_stays_there,
         a_copy_that_goes_on_is_not_waited_for_for_ever)
