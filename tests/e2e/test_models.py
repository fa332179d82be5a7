#!/usr/bin/env python3
"""Models of every format, with several inputs and outputs, and with weights of fewer bits, served."""

import os

from harness import (ROOT, Client, Gateway, Net, Repository, close_to, load_npy, main, request,
                     wait_for)

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


if __name__ == "__main__":
    main(keras_files_are_served, exported_models_are_served, narrow_weights_are_served,
         too_coarse_weights_are_refused)
