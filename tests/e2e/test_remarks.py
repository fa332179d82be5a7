#!/usr/bin/env python3
"""What lies in the store and is not served is not passed over: one line that names path, reason and
what to do, in the log, in status, in --check, in promote and in infer."""

import os
import shutil
import tempfile

from harness import (DIGITS, PORT, SERVER4, Client, Gateway, Net, Repository, digits_rows, main,
                     program, request, run, wait_for)

MODEL = os.path.join(DIGITS, "1/model.onnx")


def put(repository, path, source=MODEL):
    """A file of the repository, or an empty folder."""
    target = os.path.join(repository.path, path)
    os.makedirs(target if path.endswith("/") else os.path.dirname(target), exist_ok=True)
    if not path.endswith("/"):
        shutil.copy(source, target)


def check(repository, *more):
    done = run(program("flipgated"), "--check", "--listen", f"{SERVER4}:{PORT}", "--repository",
               repository.path, *more)
    assert "the configuration is good" in done.stdout, done
    return [line for line in done.stdout.splitlines() if line.startswith("not served: ")]


def verb(gateway, *argv):
    done = run(program("flipgate"), *argv, "--socket", gateway.socket, check=False)
    return done.returncode, done.stdout + done.stderr


def infer(gateway, net, model):
    return run(*net.command(net.cl, [program("flipgate"), "infer", f"{SERVER4}:{PORT}", model,
                                     "--input", os.path.join(DIGITS, "inputs.npy"), "--rows", "0:1",
                                     "--timeout", "300", "--socket", gateway.socket]),
               check=False).stderr


# What is there: what is said of it, and on which model.
CASES = {
    "vname/v1/model.onnx": ("vname/v1", "is no version", "vname"),
    "dot/0.1/model.onnx": ("dot/0.1", "is no version", "dot"),
    "flat/model.onnx": ("flat/model.onnx", "flat/1/model.onnx", "flat"),
    "other/1/fraud.onnx": ("other/1", "the file must be named model.onnx", "other"),
    "saved/1/saved_model.pb": ("saved/1", "SavedModel", "saved"),
    "hollow/1/": ("hollow/1", "is empty", "hollow"),
    "bare/": ("bare", "holds no version", "bare"),
    "spaced out/1/model.onnx": ("spaced out", "model names are", None),
}


def everywhere(gateway, path, part):
    """One line in the log, one in status."""
    wait_for(f"the log to tell of {path}", lambda: f'path="{path}"' in gateway.log(), 5)
    lines = [line for line in gateway.log().splitlines() if f'path="{path}"' in line]
    assert len(lines) == 1 and part in lines[0] and "level=warn" in lines[0], lines
    code, text = verb(gateway, "status")
    assert code == 0 and f"  {path}: " in text and part in text, text


def each_kind_gets_a_line():
    repository = Repository()
    repository.publish(1)
    for path in CASES:
        put(repository, path)
    put(repository, "digits/model.onnx")  # beside versions
    put(repository, "digits/3.tmp/model.onnx")  # put aside
    checked = check(repository)
    with Net() as net, Gateway(net, repository) as gateway:
        for path, part, model in [*CASES.values(), ("digits/model.onnx", "digits/1/model.onnx", None)]:
            path = os.path.join(repository.path, path)
            assert len([line for line in checked if f" {path}: " in line and part in line]) == 1, (
                path, checked)
            everywhere(gateway, path, part)
            if not model:
                continue
            code, text = verb(gateway, "promote", model, "1")
            assert code == 2 and path in text and part in text, text
            text = infer(gateway, net, model)
            assert path in text and part in text and "unknown_model" in text, text
        assert "3.tmp" not in gateway.log() + str(checked)
        assert len(checked) == len(CASES) + 1, checked
        told = gateway.log().count("event=store.remark")
        put(repository, "vname/2/model.onnx")
        run("chmod", "-R", "a+rX", repository.path)
        gateway.wait_live(2, model="vname")
        assert "vname/v1" in str(gateway.status()["store"]["remarks"]), "it is there still"
        os.rmdir(os.path.join(repository.path, "hollow/1"))
        wait_for("another remark", lambda: gateway.log().count("event=store.remark") == told + 1)
        path = os.path.join(repository.path, "hollow")
        everywhere(gateway, path, "holds no version")


def only_these():
    """Nothing to serve: not ready, and it says why."""
    repository = Repository()
    put(repository, "vname/v1/model.onnx")
    with Net() as net, Gateway(net, repository, ready=False) as gateway:
        path = os.path.join(repository.path, "vname/v1")
        wait_for("a remark", lambda: gateway.status(check=False).get("store", {}).get("remarks"))
        status = gateway.status()
        assert not status["ready"] and path in status["not_ready"], status["not_ready"]
        text = infer(gateway, net, "digits")
        assert "not ready" in text and path in text and "listening" not in text, text
        code, text = verb(gateway, "status")
        assert f"not ready: {path}: " in text, text
        repository.publish(1)
        gateway.wait_live(1)
        assert gateway.status()["not_ready"] == ""


def one_model_instead_of_all():
    """--repository names the folder of one model, then one of its versions."""
    repository = Repository()
    for version in (1, 2):
        repository.publish(version)
    one = os.path.join(repository.path, "digits")
    for path, part in ((one, f"give the folder above it, {repository.path}"),
                       (os.path.join(one, "1"), "models are REPOSITORY/MODEL/VERSION/model.onnx")):
        wrong = Repository()
        wrong.close()
        wrong.path = path
        checked = check(wrong)
        assert len(checked) == 1 and part in checked[0] and path in checked[0], checked
        with Net() as net, Gateway(net, wrong, ready=False) as gateway:
            wait_for("it to say so", lambda: part in gateway.status(check=False).get("not_ready", ""))
    with tempfile.TemporaryDirectory(prefix="fgt-empty-") as empty:
        wrong.path = empty
        assert "holds no models" in check(wrong)[0]


def what_the_configuration_names():
    repository = Repository()
    repository.publish(1)
    with tempfile.TemporaryDirectory(prefix="fgt-config-") as folder:
        config = os.path.join(folder, "models.config")
        with open(config, "w") as file:
            file.write("model_config_list { config { name: 'digits' base_path: '%s/digits' "
                       "model_version_policy { specific { versions: 1 versions: 42 } } "
                       "version_labels { key: 'canary' value: 43 } } config { name: 'gone' "
                       "base_path: '%s/gone' } }" % (repository.path, repository.path))
        checked = check(repository, "--models-config", config)
        with Net() as net, Gateway(net, repository, "--models-config", config) as gateway:
            for name, part in (("digits/42", "the configuration names this version"),
                               ("digits/43", "label canary names this version"),
                               ("gone", "No such file or directory: make it")):
                path = os.path.join(repository.path, name)
                assert len([line for line in checked if f" {path}: " in line]) == 1, checked
                everywhere(gateway, path, part)
            code, text = verb(gateway, "promote", "digits", "42")
            assert code == 2 and "digits/42" in text and "not there" in text, text
            repository.publish(42, source=os.path.join(DIGITS, "2"))
            wait_for("the remark to go", lambda: "digits/42" not in str(
                gateway.status()["store"]["remarks"]))


def more_versions_than_fit():
    repository = Repository()
    for version in range(1, 41):
        repository.publish(version, source=os.path.join(DIGITS, "1"))
    repository.publish(1, source=os.path.join(DIGITS, "2"), model="other")
    with tempfile.TemporaryDirectory(prefix="fgt-config-") as folder:
        config = os.path.join(folder, "models.yaml")
        with open(config, "w") as file:
            file.write("models:\n- name: digits\n  policy: all\n- name: other\n")
        part = "9 of its versions are not served"
        assert part in str(check(repository, "--models-config", config))
        with Net() as net, Gateway(net, repository, "--models-config", config) as gateway:
            everywhere(gateway, os.path.join(repository.path, "digits"), part)


def generations_that_wait_for_drains():
    """Each of four generations keeps a flow that goes on: a fifth one has no record to start in."""
    repository = Repository()
    repository.publish(1)
    row = digits_rows()[0]
    with Net() as net, Gateway(net, repository, "--drain-deadline", "60s", "--flow-idle",
                               "2s") as gateway:
        clients = []

        def keep():
            for client in clients:
                assert client.ask(request(row))
            return True

        for version in range(2, 8):
            clients.append(Client(net))
            keep()
            repository.publish(version, source=os.path.join(DIGITS, str(2 - version % 2)))
            live = lambda: keep() and (gateway.live() == {"digits": version} or
                                       gateway.status()["store"]["remarks"])
            if wait_for("it to be live, or to wait", live, 15) is not True:
                break
        remark = gateway.status()["store"]["remarks"][0]
        assert remark["model"] == "digits" and "drain" in remark["reason"], remark
        wait_for("the log", lambda: keep() and "its wanted version waits" in gateway.log())
        for client in clients:
            client.__exit__()
        clients.clear()
        gateway.wait_live(version)
        wait_for("no remark", lambda: not gateway.status()["store"]["remarks"])


if __name__ == "__main__":
    main(each_kind_gets_a_line, only_these, one_model_instead_of_all, what_the_configuration_names,
         more_versions_than_fit, generations_that_wait_for_drains)
