#!/usr/bin/env python3
"""Holds docs/protocol.md to the code: its tables to wire.h, its client and its dumps to each other
on loopback, and the dumped request to the row that it says it is. TAP."""

import pathlib
import re
import socket
import struct
import sys
import threading
import types

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/protocol.md").read_text()
WIRE_H = (ROOT / "userspace/protocol/wire.h").read_text()


def documented_client():
    module = types.ModuleType("client")
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], module.__dict__)
    return module


def dumps():
    """-> the bytes of each hex dump on the page"""
    blocks = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    lines = r"^[0-9a-f]{8}:((?: [0-9a-f]{2})+)"
    return [bytes.fromhex("".join(re.findall(lines, block, re.MULTILINE))) for block in blocks]


def first_row():
    """-> the bytes of row 0 of the digits"""
    npy = (ROOT / "tests/data/digits/inputs.npy").read_bytes()
    begin = 10 + struct.unpack_from("<H", npy, 8)[0]
    return npy[begin:begin + 256]


def statuses_agree():
    rows = re.findall(r"^\| (\d+) \| (\w+) \| [^|]* \|[^|]*\|$", PAGE, re.MULTILINE)
    names = re.findall(r'X\(\w+, "(\w+)", "', WIRE_H[WIRE_H.index("#define FG_STATUSES"):])
    assert [(str(n), name) for n, name in enumerate(names)] == rows, rows


def dtypes_agree():
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (?:\d+)? ?\|", PAGE, re.MULTILINE)
    enum = re.findall(r"FG_DTYPE_(\w+) = ([1-9]\d*)", WIRE_H)
    assert [(name.lower(), number) for name, number in enum] == rows, rows


def offsets_agree():
    """The table's offsets and sizes against the struct's comments."""
    rows = [int(n) for n in re.findall(r"^\| (\d+) \| \d+ \| [a-z /]+ \|", PAGE, re.MULTILINE)]
    struct_text = WIRE_H[WIRE_H.index("struct fg_wire_header {"):]
    offsets = {int(n) for n in re.findall(r"/\* +(\d+)[: ]", struct_text[:struct_text.index("\n};")])}
    assert rows == sorted(offsets) and rows[-1] == 60, (rows, sorted(offsets))


def client_and_dumps_agree():
    client, (request, reply) = documented_client(), dumps()
    seen = []
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(10)

    def serve():
        data, source = server.recvfrom(65536)
        seen.append(data)
        server.sendto(reply[:24] + bytes(8) + reply[32:], source)  # another id: to be ignored
        server.sendto(reply[:24] + data[24:32] + reply[32:], source)

    thread = threading.Thread(target=serve)
    thread.start()
    row = struct.unpack("<64f", first_row())
    outputs, version, generation = client.infer(
        "127.0.0.1", server.getsockname()[1], "digits", [row], affinity=0x1122334455667788,
        wait_s=5, tries=1)
    thread.join()
    server.close()
    sent = seen[0]
    same = sent[:24] + request[24:32] + sent[32:56] + request[56:60] + sent[60:80]  # id, deadline
    assert same == request, sent.hex()
    assert sent[64:] == first_row()
    assert (version, generation) == (1, 1)
    assert list(outputs[0]) == list(struct.unpack("<10f", reply[64:]))
    shown = [float(x) for x in re.findall(r"\b0\.\d{6}\b", PAGE)]
    assert len(shown) == 10 and all(abs(a - b) < 1e-6 for a, b in zip(shown, outputs[0])), shown


def refusals_and_silence():
    client, (_, reply) = documented_client(), dumps()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(10)
    port = server.getsockname()[1]

    def refuse():
        data, source = server.recvfrom(65536)
        header = bytearray(reply[:24] + data[24:32] + reply[32:64])
        header[12:14] = 7, 4
        header[48:52] = struct.pack("<I", 2)
        server.sendto(bytes(header) + b"no", source)

    thread = threading.Thread(target=refuse)
    thread.start()
    try:
        client.infer("127.0.0.1", port, "digits", [[1.0]], wait_s=5, tries=1)
        raise AssertionError("a refusal must raise")
    except RuntimeError as error:
        assert str(error) == "bad_shape: no", error
    thread.join()
    try:
        client.infer("127.0.0.1", port, "digits", [[1.0]], wait_s=0.02, tries=2)
        raise AssertionError("silence must raise")
    except TimeoutError:
        pass
    assert len(server.recv(65536)) == 68 and len(server.recv(65536)) == 68  # both tries came
    server.close()


def connections_end_and_leave():
    """The first connection ends without a reply; the second answers in pieces and leaves; the third
    answers twice."""
    client, (_, reply) = documented_client(), dumps()
    row = struct.unpack("<64f", first_row())
    asked_bytes = 4 + 64 + len(first_row())
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)
    seen = []

    def serve_one(connection, flags):
        data = connection.recv(asked_bytes, socket.MSG_WAITALL)
        seen.append(data)
        answer = reply[:6] + bytes([flags, 0]) + reply[8:24] + data[28:36] + reply[32:]
        framed = struct.pack("<I", len(answer)) + answer
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (framed[:3], framed[3:50], framed[50:]):
            connection.sendall(piece)

    def serve():
        for flags in (None, (2,), (0, 0)):
            connection, _ = listener.accept()
            with connection:
                if flags is None:
                    connection.recv(asked_bytes, socket.MSG_WAITALL)
                    continue
                for each in flags:
                    serve_one(connection, each)
                assert connection.recv(1) == b""  # the client closes first

    thread = threading.Thread(target=serve)
    thread.start()
    connection = client.Connection("127.0.0.1", listener.getsockname()[1], wait_s=5)
    for _ in range(3):
        outputs, version, generation = connection.infer("digits", [row])
        assert (version, generation) == (1, 1)
        assert list(outputs[0]) == list(struct.unpack("<10f", reply[64:]))
    connection.close()
    thread.join()
    listener.close()
    assert len(seen) == 3 and all(struct.unpack("<I", data[:4])[0] == 320 for data in seen)
    assert all(data[68:] == first_row() for data in seen)


CHECKS = (statuses_agree, dtypes_agree, offsets_agree, client_and_dumps_agree,
          refusals_and_silence, connections_end_and_leave)


def main():
    failed = False
    print(f"1..{len(CHECKS)}")
    for number, check in enumerate(CHECKS, 1):
        name = check.__name__.replace("_", " ")
        try:
            check()
            print(f"ok {number} - {name}")
        except Exception as error:  # a crash of the page's code is a failure of the page
            failed = True
            print(f"not ok {number} - {name}\n# {type(error).__name__}: {error}")
    sys.exit(failed)


main()
