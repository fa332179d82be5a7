#!/usr/bin/env python3
"""flipgate publish into the repository of a running gateway: whole, checked, or not at all."""

import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile

from harness import (DIGITS, ROOT, Client, Gateway, Net, Repository, digits_rows, main, program,
                     request, run, wait_for)

LARGE = 1 << 30  # sparse: copying it takes long enough to be interrupted


def publish(gateway, *argv, code=0):
    """Runs the verb against the gateway; returns its JSON, holds its exit code to `code`."""
    done = run(program("flipgate"), "publish", *argv, "--socket", gateway.socket, "--output",
               "json", check=False)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


def names(repository):
    """All that lies in the repository, hidden names too, down to the versions."""
    return sorted(os.path.join(model, version) for model in os.listdir(repository.path)
                  for version in os.listdir(os.path.join(repository.path, model)))


def published_is_live(gateway, repository):
    before = gateway.status()["generations"][-1]["id"]
    answer = publish(gateway, os.path.join(DIGITS, "2"), "digits", "--wait=20s")
    assert answer["published"][0]["version"] == 2 and answer["published"][0]["changed"], answer
    assert answer["generation"] > before, answer
    assert gateway.live() == {"digits": 2}
    with Client(gateway.net) as client:
        assert client.ask(request(digits_rows()[0])).version == 2
    assert names(repository) == ["digits/1", "digits/2"], names(repository)


def the_same_again(gateway, repository):
    two = os.path.join(DIGITS, "2")
    assert publish(gateway, two, "digits", "2")["published"][0]["changed"] is False
    refused = publish(gateway, os.path.join(DIGITS, "1"), "digits", "2", code=2)
    assert "never changes" in refused["error"], refused
    live = gateway.status()["flips"]["last"]["generation"]
    refused = publish(gateway, two, "digits", "--expect-current", str(live + 1), code=7)
    assert refused["code"] == "conflict", refused
    assert names(repository) == ["digits/1", "digits/2"]


def two_models_are_one_generation(gateway, repository):
    flips = gateway.status()["flips"]["count"]
    answer = publish(gateway, os.path.join(DIGITS, "1"), "digits", "--also",
                     f"{DIGITS}/2=copy/7", "--wait=20s")
    assert {entry["model"]: entry["version"] for entry in answer["published"]} == {
        "digits": 3, "copy": 7}, answer
    assert gateway.live() == {"digits": 3, "copy": 7}
    status = gateway.status()
    assert status["flips"]["count"] == flips + 1, (flips, status["flips"])
    assert status["flips"]["last"]["generation"] == answer["generation"], (status["flips"], answer)
    assert names(repository) == ["copy/7", "digits/1", "digits/2", "digits/3"]


def a_bad_model_is_refused(gateway, repository):
    before = names(repository)
    bad = os.path.join(ROOT, "tests/data/refused/conv")
    refused = publish(gateway, bad, "images", code=5)
    assert "Conv is not supported" in refused["error"], refused
    with tempfile.TemporaryDirectory(prefix="fgt-version-") as folder:
        with open(os.path.join(folder, "model.onnx"), "wb") as file:
            file.write(b"\x08\x07this is no model")
        # Neither of the two: what is good waits for what is not.
        refused = publish(gateway, os.path.join(DIGITS, "2"), "digits", "--also",
                          f"{folder}=broken", code=5)
        assert refused["code"] == "bad_data" and refused["error"], refused
    assert names(repository) == before and not os.path.exists(f"{repository.path}/images")
    assert not os.path.exists(f"{repository.path}/broken")
    assert gateway.live() == {"digits": 3, "copy": 7}


def begin_large(gateway, repository, folder):
    """A publisher in the middle of its copy."""
    shutil.copy(os.path.join(DIGITS, "1", "model.onnx"), folder)
    with open(os.path.join(folder, "weights.bin"), "wb") as file:
        file.truncate(LARGE)
    process = subprocess.Popen([program("flipgate"), "publish", folder, "digits", "--no-check",
                                "--socket", gateway.socket], stderr=subprocess.PIPE, text=True)
    copy = os.path.join(repository.path, "digits", f".4.tmp-{process.pid}", "weights.bin")
    wait_for("the copy to begin", lambda: os.path.exists(copy) and os.path.getsize(copy) > 1 << 20,
             every_s=0.002)
    return process


def an_interrupt_leaves_nothing(gateway, repository):
    before = names(repository)
    with tempfile.TemporaryDirectory(prefix="fgt-version-") as folder:
        process = begin_large(gateway, repository, folder)
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=20)[1]
        assert process.returncode == 4 and "nothing was published" in error, error
        assert names(repository) == before, names(repository)
        process = begin_large(gateway, repository, folder)
        process.kill()
        process.communicate(timeout=20)
        assert len(names(repository)) == len(before) + 1
    # The next one removes what a killed one left, and the gateway never saw it.
    answer = publish(gateway, os.path.join(DIGITS, "2"), "digits", "--wait=20s")
    assert answer["published"][0]["version"] == 4
    assert names(repository) == sorted([*before, "digits/4"]), names(repository)
    assert gateway.live() == {"digits": 4, "copy": 7}


def what_is_published_can_be_promoted():
    """In a script, one behind the other; under `manual` --wait is over when it is ready."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, "--policy", "manual") as gateway:
        for version in range(2, 7):
            answer = publish(gateway, os.path.join(DIGITS, "2"), "digits", str(version))
            assert answer["published"][0]["version"] == version, answer
            assert gateway.verb("promote", "digits", str(version))["ok"]
            assert gateway.live() == {"digits": version}
        answer = publish(gateway, os.path.join(DIGITS, "1"), "digits", "--wait=20s")
        assert answer["ok"] and answer["live"] is False, answer
        assert gateway.verb("promote", "digits", "7")["ok"]
        done = run(program("flipgate"), "publish", os.path.join(DIGITS, "2"), "digits", "--wait=20s",
                   "--socket", gateway.socket)
        assert "ready: " in done.stdout and "promote digits 8" in done.stdout, done.stdout
        history = gateway.verb("history")  # of a gateway that was told of no audit log
        assert history["path"].endswith("default.audit"), history
        assert [line["to"] for line in history["lines"] if line["what"] == "cutover"][1:] == [
            2, 3, 4, 5, 6, 7], history


def a_policy_that_names_others_is_told_of():
    repository = Repository()
    repository.publish(1)
    with tempfile.NamedTemporaryFile("w", suffix=".config") as rules, Net() as net:
        rules.write(f'''model_config_list {{ config {{ name: "digits" base_path: "{repository.path}/digits"
            model_version_policy {{ specific {{ versions: 1 }} }} }} }}''')
        rules.flush()
        gateway = Gateway(net, repository, "--models-config", rules.name)
        del gateway.argv[1:3]  # its --repository
        with gateway:
            two = os.path.join(DIGITS, "2")
            assert publish(gateway, two, "digits")["published"][0]["version"] == 2
            refused = publish(gateway, two, "digits", "--wait=20s", code=2)
            assert "names other versions only: add 2" in refused["error"], refused


repository = Repository()
repository.publish(1)
with Net() as net, Gateway(net, repository, "--flow-idle", "100ms") as gateway:
    try:
        main(*[(test.__name__, functools.partial(test, gateway, repository))
               for test in (published_is_live, the_same_again, two_models_are_one_generation,
                            a_bad_model_is_refused, an_interrupt_leaves_nothing)],
             what_is_published_can_be_promoted, a_policy_that_names_others_is_told_of)
    except SystemExit as end:
        if end.code:  # shows the gateway's log
            raise
