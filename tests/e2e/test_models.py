#!/usr/bin/env python3
"""Models of every format, with several inputs and outputs, and with weights of fewer bits, served."""

import json
import os
import struct

from harness import (PORT, ROOT, SERVER4, Client, Gateway, Net, Repository, close_to, load_npy, main,
                     program, request, run, wait_for)

DATA = os.path.join(ROOT, "tests/data")
KEPT = 12  # rows asked of each model


def cases(folder, *names):
    return [os.path.join(DATA, folder, name) for name in names]


def publish(repository, case, model, extra=None):
    """The model's files, but not the rows that the test keeps to itself."""
    files = dict(extra or {})
    for name in os.listdir(case):
        if name.startswith("model."):
            with open(os.path.join(case, name), "rb") as file:
                files[name] = file.read()
    repository.write(1, files, model=model)


def ask_rows(client, case, model, tolerance=1e-4):
    inputs = load_npy(os.path.join(case, "inputs.npy"))
    expected = load_npy(os.path.join(case, "expected.npy"))
    for row, wanted in list(zip(inputs, expected))[:KEPT]:
        reply = client.ask(request(row.tobytes(), cols=len(row), model=model.encode()))
        assert reply and reply.status == "ok", (case, reply and reply.text())
        assert close_to(reply.floats(), wanted, tolerance), (case, reply.floats(), wanted)


def serve_all(chosen):
    repository = Repository()
    for number, case in enumerate(chosen):
        publish(repository, case, f"m{number}")
    with Net() as net, Gateway(net, repository) as gateway, Client(net) as client:
        for number, case in enumerate(chosen):
            gateway.wait_live(1, f"m{number}")
            ask_rows(client, case, f"m{number}")


def keras_files_are_served():
    serve_all(cases("keras", "dense_10_keras3_h5", "dense_10_keras2_h5", "wide_and_deep_keras3_zip",
                    "nested_keras3_h5"))


def exported_models_are_served():
    serve_all(cases("torch", "wide_and_deep_dynamo", "two_heads_script_13", "residual_dynamo",
                    "gelu_script_9") +
              cases("sklearn", "logistic_words_zipmap", "mlp_classifier_binary"))


def classes_are_told_by_output():
    """A label and the probabilities of three classes side by side in a row."""
    case = os.path.join(DATA, "sklearn", "mlp_classifier_zipmap")
    expected = load_npy(os.path.join(case, "expected.npy"))
    repository = Repository()
    publish(repository, case, "m")
    labels = os.path.join(repository.path, ".labels.csv")
    with open(labels, "w") as file:
        file.write("label\n" + "".join(f"{row[0]:g}\n" for row in expected))
    with Net() as net, Gateway(net, repository, "--listen-tcp", f"{SERVER4}:{PORT}") as gateway:
        gateway.wait_live(1, "m")
        for address in (f"{SERVER4}:{PORT}", f"tcp://{SERVER4}:{PORT}"):
            def flipgate(verb, *args):
                said = run(*net.command(net.cl, [
                    program("flipgate"), verb, address, "m", "--input",
                    os.path.join(case, "inputs.npy"), "--output", "json", *args]))
                return json.loads(said.stdout)

            answer = flipgate("infer")
            assert [(port["name"], port["cols"], port["integer"]) for port in answer["ports"]] == [
                ("output_label", 1, True), ("output_probability", 3, False)], answer["ports"]
            assert answer["argmax"] == {"output_probability": [
                max(range(3), key=lambda c: row[1 + c]) for row in expected]}, answer["argmax"]
            report = flipgate("load", "--labels", labels, "--duration", "0.3", "--rate", "500")
            assert report["versions"]["1"]["accuracy"] == 1.0, report["versions"]
            report = flipgate("load", "--labels", labels, "--duration", "0.3", "--rate", "500",
                              "--labels-output", "output_probability")
            assert report["versions"]["1"]["accuracy"] < 1.0, "labels are -1, 1, 3, not columns"


def narrow_weights_are_served():
    case = os.path.join(DATA, "digits", "2")
    settings = b'{"weights": "int8", "max_error": 0.1}'
    repository = Repository()
    publish(repository, case, "digits", {"pack.json": settings})
    inputs = load_npy(os.path.join(DATA, "digits/inputs.npy"))
    expected = load_npy(os.path.join(DATA, "digits/reference_2.npy"))
    with Net() as net, Gateway(net, repository), Client(net) as client:
        for row, wanted in list(zip(inputs, expected))[:100]:
            answer = list(client.ask(request(row.tobytes())).floats())
            assert close_to(answer, wanted, 0.1), (answer, wanted)
            assert answer != list(wanted), "these are f32's bits"


def too_coarse_weights_are_refused():
    """A version whose int8 weights are off by more than it allows never serves."""
    case = os.path.join(DATA, "digits", "2")
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository) as gateway:
        with open(os.path.join(case, "model.onnx"), "rb") as file:
            repository.write(2, {"model.onnx": file.read(),
                                 "pack.json": b'{"weights": "int8", "max_error": 1e-5}'})
        wait_for("the refusal", lambda: "above the bound" in gateway.log())
        assert gateway.live() == {"digits": 1}


def unknown_ids_are_refused():
    """An id that the table does not have: the client is told which, and others are answered."""
    case = cases("torch", "wide_and_deep_dynamo")[0]
    repository = Repository()
    publish(repository, case, "deep")
    row = load_npy(os.path.join(case, "inputs.npy"))[0]
    with Net() as net, Gateway(net, repository) as gateway, Client(net) as client:
        gateway.wait_live(1, "deep")
        for bad in (1e6, -1e6, 2.5, float("nan")):
            wrong = struct.pack("<6f", *list(row)[:5], bad)
            reply = client.ask(request(wrong, cols=6, model=b"deep"))
            assert reply.status == "bad_value", (bad, reply.status)
            assert reply.text.startswith("row 0: input 'input_1', column 0: "), reply.text
            ask_rows(client, case, "deep")
        statuses = [worker["statuses"] for worker in gateway.status()["workers"]]
        assert sum(counts.get("bad_value", 0) for counts in statuses) == 4, statuses


if __name__ == "__main__":
    main(keras_files_are_served, exported_models_are_served, classes_are_told_by_output,
         unknown_ids_are_refused,
         narrow_weights_are_served, too_coarse_weights_are_refused)
