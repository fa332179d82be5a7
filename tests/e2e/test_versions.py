#!/usr/bin/env python3
"""Files of a version that change under its number: what serves and what lies on disk agree, or status
and log say that they do not. And what fails through no fault of the files is tried again."""

import json
import os
import shutil
import signal
import time

import mlp
from harness import (DIGITS, SERVER4, Client, Gateway, Net, Repository, close_to, digits_rows, load_npy, main, program,
                     reference, request, run, wait_for)

ROW = digits_rows()[0]
SIZES, SEED = (8, 16, 3), 5


def row(gateway, version, model="digits"):
    """What status says of a version; None when it does not know it."""
    for one in gateway.status()["models"]:
        for found in one["versions"]:
            if (one["model"], found["version"]) == (model, version):
                return found
    return None


def answers_as(net, version):
    """A new flow: does the gateway answer as that version of the test data does, and as number 1?"""
    with Client(net) as client:
        reply = client.ask(request(ROW))
    assert reply and reply.status == "ok" and reply.version == 1, reply and reply.status
    return close_to(reply.floats(), reference(version)[0])


def put(target, source, name="model.onnx"):
    """Writes over a file of version 1, in place."""
    with open(os.path.join(DIGITS, str(source), name), "rb") as file:
        data = file.read()
    with open(os.path.join(target, name), "wb") as file:
        file.write(data)


def wait_files(gateway, wanted):
    return wait_for(f"the files of version 1 to be {wanted}",
                    lambda: row(gateway, 1)["files"] == wanted and row(gateway, 1))


def half_copies_heal():
    """The weights have their size at once; their contents follow after a pause."""
    repository = Repository()
    whole = mlp.onnx(SIZES, SEED)
    half = whole
    for layer in range(len(SIZES) - 1):
        for values in mlp.weights(SIZES, layer, SEED):
            half = half.replace(values.tobytes(), bytes(len(values) * 4))
    assert len(half) == len(whole) and half != whole
    rows = mlp.inputs(SIZES[0], 1)
    wanted = mlp.answers(SIZES, SEED, rows)[0]
    question = request(rows[0].tobytes(), cols=SIZES[0], model=b"mlp")
    repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        folder = repository.write(1, {"model.onnx": half}, model="mlp")
        gateway.wait_live(1, model="mlp")
        time.sleep(0.6)
        with Client(net) as client:
            assert not close_to(client.ask(question).floats(), wanted)
        with open(os.path.join(folder, "model.onnx"), "r+b") as file:
            file.write(whole)

        def heals():
            with Client(net) as client:
                reply = client.ask(question)
            assert reply and reply.status == "ok" and reply.version == 1
            return close_to(reply.floats(), wanted)

        wait_for("the whole to answer", heals, 5)
        assert row(gateway, 1, "mlp")["files"] == "same"
        assert "version.changed model=mlp version=1" in gateway.log()


def a_live_file_that_is_replaced_is_told_of():
    """Where nobody allows it, the answers stay, and status, its text and the log say so."""
    repository = Repository()
    folder = repository.publish(1)
    with Net() as net, Gateway(net, repository, "--settle", "0s") as gateway:
        before = row(gateway, 1)
        assert before["files"] == "same" and before["disk_digest"] == before["digest"], before
        put(folder, 2)
        now = wait_files(gateway, "differs")
        assert now["digest"] == before["digest"] and now["state"] == "live"
        assert len(now["disk_digest"]) == 16 and now["disk_digest"] != now["digest"], now
        assert "differs from disk" in now["error"] and "promote digits 1" in now["error"], now
        text = run(program("flipgate"), "status", "--socket", gateway.socket).stdout
        assert "differs from disk" in text, text
        assert "version.differs model=digits version=1" in gateway.log()
        os.kill(gateway.status()["control_pid"], signal.SIGKILL)
        wait_for("control to be back", lambda: gateway.status(check=False).get("ok"))
        wait_files(gateway, "differs")
        assert answers_as(net, 1)
        assert gateway.verb("promote", "digits", "1")["ok"]
        assert answers_as(net, 2)
        after = row(gateway, 1)
        assert after["files"] == "same" and after["digest"] == now["disk_digest"], after


def a_live_file_that_is_replaced_soon_is_taken():
    repository = Repository()
    folder = repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        before = row(gateway, 1)
        info = os.stat(os.path.join(folder, "model.onnx"))
        put(folder, 2)
        os.utime(os.path.join(folder, "model.onnx"), ns=(info.st_atime_ns, info.st_mtime_ns))
        wait_for("the new file to answer", lambda: answers_as(net, 2))
        assert row(gateway, 1)["digest"] != before["digest"]


def deleted_and_put_back():
    repository = Repository()
    folder = repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        shutil.rmtree(folder)
        wait_files(gateway, "gone")
        assert answers_as(net, 1)
        repository.publish(1, os.path.join(DIGITS, "2"))
        wait_for("what was put back to answer", lambda: answers_as(net, 2))
        shutil.rmtree(folder)
        wait_files(gateway, "gone")
        repository.publish(1, os.path.join(DIGITS, "2"))
        wait_files(gateway, "same")
        assert "version.touched model=digits version=1" in gateway.log()


def touched_files_are_the_same():
    repository = Repository()
    folder = repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        flips = gateway.status()["flips"]["count"]
        os.chmod(os.path.join(folder, "model.onnx"), 0o444)
        wait_for("the touch to be told", lambda: "version.touched" in gateway.log())
        put(folder, 1)
        wait_files(gateway, "same")
        assert gateway.status()["flips"]["count"] == flips
        assert answers_as(net, 1)


def late_golden_rows():
    """Those that miss do not end what serves; those that hold make another plan."""
    repository = Repository()
    folder = repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        before = row(gateway, 1)
        put(folder, 2, "golden.json")
        now = wait_files(gateway, "differs")
        assert "do not work" in now["error"] and "golden" in now["error"], now
        assert now["state"] == "live" and now["disk_digest"] == "" and answers_as(net, 1)
        assert gateway.verb("promote", "digits", "1", check=False)["code"] == "failed"
        assert answers_as(net, 1)
        rows = [row.tolist() for row in load_npy(os.path.join(DIGITS, "inputs.npy"))[:3]]
        with open(os.path.join(folder, "golden.json"), "w") as file:
            json.dump({"inputs": rows, "outputs": [one.tolist() for one in reference(1)[:3]]}, file)
        wait_files(gateway, "same")
        assert row(gateway, 1)["digest"] != before["digest"]
        assert answers_as(net, 1)


def wait_retry(gateway, version, model="digits"):
    """Until the version has failed for what may pass."""
    return wait_for("a failure that may pass", lambda: [
        found for found in [row(gateway, version, model)]
        if found and found["state"] == "failed" and found["retry_s"] is not None])[0]


def unreadable_files_are_taken_when_they_can_be_read():
    """The message says chmod; doing so is noticed."""
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        folder = os.path.join(repository.path, "digits", "2")
        shutil.copytree(os.path.join(DIGITS, "2"), folder + ".tmp")
        os.chmod(folder + ".tmp", 0o755)
        os.chmod(os.path.join(folder + ".tmp", "model.onnx"), 0o600)
        os.rename(folder + ".tmp", folder)
        failed = wait_retry(gateway, 2)
        assert "chmod" in failed["error"] and failed["tries"] >= 1, failed
        text = run(program("flipgate"), "status", "--socket", gateway.socket).stdout
        assert "tried again in" in text, text
        wait_for("some more tries", lambda: (row(gateway, 2)["tries"] or 0) >= 3, 20)
        assert gateway.log().count("version.failed") == 1
        os.chmod(os.path.join(folder, "model.onnx"), 0o644)
        gateway.wait_live(2, timeout_s=2.5)
        assert row(gateway, 2)["error"] == ""


def an_address_that_was_away():
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, mode="sockets") as gateway:
        run("ip", "-n", net.gw, "addr", "del", f"{SERVER4}/24", "dev", "gw0")
        repository.publish(2)
        time.sleep(1.5)
        run("ip", "-n", net.gw, "addr", "add", f"{SERVER4}/24", "dev", "gw0")
        gateway.wait_live(2, timeout_s=10)
        with Client(net) as client:
            assert wait_for("an answer", lambda: client.ask(request(ROW), 0.3)).version == 2


def packers_of(gateway):
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/stat") as file:
                ended, fields = file.read().split("(", 1)[1].rsplit(")", 1)
            if ended == "flipgate-pack" and int(fields.split()[1]) == gateway.process.pid:
                yield int(name)
        except (OSError, IndexError):
            continue


def a_packer_that_was_killed():
    """For memory, or by somebody: the version is packed once more."""
    repository = Repository()
    repository.publish(1)
    large = mlp.onnx((2000, 4000, 10), SEED)
    with Net() as net, Gateway(net, repository) as gateway:
        repository.write(1, {"model.onnx": large}, model="large")
        pid = wait_for("a packer", lambda: list(packers_of(gateway)), every_s=0.002)[0]
        os.kill(pid, signal.SIGKILL)
        failed = wait_retry(gateway, 1, "large")
        assert "killed" in failed["error"], failed
        gateway.wait_live(1, model="large", timeout_s=30)


def another_interface_waits_for_a_promote():
    """Whoever sends 64 columns is not cut off by a file that takes 32, but by an operator who says so."""
    for allowed in (False, True):
        repository = Repository()
        repository.publish(1)
        other = {"model.onnx": mlp.onnx((32, 8, 10), SEED)}
        with Net() as net, Gateway(net, repository, *(("--allow-interface-change",) if allowed else ())) as gateway:
            repository.write(2, other)
            if allowed:
                gateway.wait_live(2)
                continue
            held = wait_for("it to be held", lambda: (row(gateway, 2) or {}).get("state") == "failed" and row(gateway, 2))
            assert "takes 32 columns and gives 10, live takes 64 and gives 10" in held["error"], held
            assert answers_as(net, 1) and gateway.live() == {"digits": 1}
            gateway.process.kill()
            gateway.process.wait()
            shutil.rmtree(gateway.pins, ignore_errors=True)
            with Gateway(net, repository, "--state-dir", gateway.folder) as again:
                time.sleep(1)
                assert again.live() == {"digits": 1}, again.log()
                assert again.verb("promote", "digits", "2")["ok"]
                assert again.live() == {"digits": 2}


if __name__ == "__main__":
    main(half_copies_heal, a_live_file_that_is_replaced_is_told_of,
         a_live_file_that_is_replaced_soon_is_taken, deleted_and_put_back,
         touched_files_are_the_same, late_golden_rows,
         unreadable_files_are_taken_when_they_can_be_read, an_address_that_was_away,
         a_packer_that_was_killed, another_interface_waits_for_a_promote)
