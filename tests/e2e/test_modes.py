#!/usr/bin/env python3
"""Every mode, both families, with and without affinity keys: right answers, nothing lost."""

from harness import (SERVER4, SERVER6, PORT, Client, Gateway, Net, Repository, close_to,
                     digits_rows, load, main, reference, request, run)

MODES = ("native", "generic", "sockets")


def received(status):
    """(datagrams by AF_XDP, datagrams by the stack) of all workers."""
    workers = status["workers"]
    return (sum(worker["xsk_received"] for worker in workers),
            sum(worker["udp_received"] for worker in workers))


def serves(mode, address, affinity):
    repository = Repository()
    repository.publish(1)
    flags = ["--affinity"] if affinity else []
    with Net() as net, Gateway(net, repository, mode=mode) as gateway:
        report = load(net, "--rate", "2000", "--duration", "1.5", "--flows", "20", *flags,
                      address=f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}")
        status = gateway.status()
        assert status["mode"] == mode, status["mode"]
        assert report["requests"] > 2500, report
        for key in ("lost", "mixed_version_flows", "wrong_outputs"):
            assert report[key] == 0, (key, report)
        assert report["checked_outputs"] == report["replies"]
        by_xsk, by_stack = received(status)
        if mode == "sockets":
            assert by_xsk == 0 and by_stack >= report["requests"], (by_xsk, by_stack)
        else:
            assert by_stack == 0 and by_xsk >= report["requests"], (by_xsk, by_stack)
        assert gateway.stop() == 0


def chooses_the_fastest_mode():
    repository = Repository()
    repository.publish(1)
    with Net() as net, Gateway(net, repository, mode=None) as gateway:
        assert gateway.status()["mode"] == "native"


def affinity_keeps_one_worker():
    """Requests of one key from many ports reach one worker; many keys reach both workers."""
    row = digits_rows()[0]
    for mode in MODES:
        repository = Repository()
        repository.publish(1)
        with Net() as net, Gateway(net, repository, "--cpus", "0,1", mode=mode) as gateway:
            before = {w["slot"]: w["requests"] for w in gateway.workers()}
            assert len(before) == 2
            for number in range(40):
                with Client(net) as client:
                    reply = client.ask(request(row, affinity=77, request_id=number))
                    assert reply and reply.status == "ok" and reply.affinity == 77
            after = {w["slot"]: w["requests"] for w in gateway.workers()}
            moved = sorted(after[slot] - before[slot] for slot in before)
            assert moved == [0, 40], (mode, moved)
            for number in range(64):
                with Client(net) as client:
                    assert client.ask(request(row, affinity=1000 + number)).status == "ok"
            shares = [w["requests"] - after[w["slot"]] for w in gateway.workers()]
            assert min(shares) > 10, (mode, shares)


def same_answer_on_every_path():
    """AF_XDP in place and io_uring give the same bits, batch or not."""
    rows, payloads = digits_rows(), []
    for mode in MODES:
        repository = Repository()
        repository.publish(1)
        with Net() as net, Gateway(net, repository, mode=mode), Client(net) as client:
            single = b"".join(client.ask(request(row)).payload for row in rows[:3])
            together = client.ask(request(b"".join(rows[:3]), rows=3)).payload
            assert single == together, mode
            payloads.append(single)
            assert close_to(client.ask(request(rows[5])).floats(), reference(1)[5])
    assert payloads[0] == payloads[1] == payloads[2]


def fragments_reach_the_worker():
    """32 rows are 8 KiB: fragmented, so they go up the stack, to the flow's own worker."""
    rows = digits_rows()[:32]
    data = request(b"".join(rows), rows=32, affinity=5)
    for mode in ("native", "sockets"):
        for address in (SERVER4, SERVER6):
            repository = Repository()
            repository.publish(1)
            with Net() as net, Gateway(net, repository, "--cpus", "0,1", mode=mode) as gateway:
                with Client(net, address) as client:
                    assert client.ask(request(rows[0], affinity=5)).status == "ok"
                    reply = client.ask(data)
                    assert reply and reply.status == "ok", reply and reply.text
                    wanted = [value for row in reference(1)[:32] for value in row]
                    assert close_to(reply.floats(), wanted)
                used = [worker for worker in gateway.workers() if worker["requests"]]
                assert len(used) == 1 and used[0]["requests"] == 2, used


def wildcard_answers_from_the_address_asked():
    for mode in MODES:
        repository = Repository()
        repository.publish(1)
        with Net() as net:
            with Gateway(net, repository, mode=mode, listen=[f"0.0.0.0:{PORT}", f"[::]:{PORT}"]):
                for address in (SERVER4, SERVER6):
                    with Client(net, address) as client:  # connected: takes replies from there only
                        assert client.ask(request(digits_rows()[0])).status == "ok"


def options_go_up_the_stack():
    """IPv4 options and IPv6 extension headers are not for XDP, and still get an answer."""
    import socket
    for address, level, option, value in (
            (SERVER4, socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([1, 1, 1, 0])),
            (SERVER6, socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))):
        repository = Repository()
        repository.publish(1)
        with Net() as net, Gateway(net, repository) as gateway, Client(net, address) as client:
            client.socket.setsockopt(level, option, value)
            reply = client.ask(request(digits_rows()[0]))
            assert reply and reply.status == "ok"
            assert received(gateway.status()) == (0, 1)
            assert gateway.counters()["xdp_pass_stack"] == 1


def many_queues():
    """Two interface queues, two workers: every worker has a socket on each queue."""
    repository = Repository()
    repository.publish(1)
    with Net(queues=2) as net, Gateway(net, repository, "--cpus", "0,1") as gateway:
        assert gateway.status()["queues"] == 2, gateway.status()["queues"]
        report = load(net, "--rate", "2000", "--duration", "1", "--flows", "40")
        assert report["lost"] == report["wrong_outputs"] == 0, report["lost"]
        assert received(gateway.status())[1] == 0


def jumbo_frames_stay_in_xdp():
    """A 3,500-byte MTU: 12 rows are one frame, in place; the reply to 13 rows of u8 as well."""
    repository = Repository()
    repository.publish(1)
    with Net(mtu=3500) as net, Gateway(net, repository) as gateway, Client(net) as client:
        reply = client.ask(request(b"".join(digits_rows()[:12]), rows=12))
        wanted = [value for row in reference(1)[:12] for value in row]
        assert reply.status == "ok" and close_to(reply.floats(), wanted)
        assert client.ask(request(bytes(13 * 64), rows=13, dtype=5)).status == "ok"
        assert received(gateway.status()) == (2, 0)


def larger_frames_go_up_the_stack():
    """9,000-byte MTU: generic XDP takes it, a UMEM frame does not; the stack serves what is larger."""
    repository = Repository()
    repository.publish(1)
    with Net(mtu=9000) as net, Gateway(net, repository, mode=None) as gateway:
        assert gateway.status()["mode"] == "generic", gateway.status()["mode_reason"]
        with Client(net) as client:
            for rows in (1, 14, 15, 16, 20, 30, 32):
                reply = client.ask(request(b"".join(digits_rows()[:rows]), rows=rows))
                assert reply and reply.status == "ok", rows
        assert received(gateway.status()) == (2, 5), received(gateway.status())


def segmented_batches():
    """Eight requests of one send with UDP_SEGMENT, also padded ones: each gets its answer."""
    import socket
    UDP_SEGMENT = 103
    rows = digits_rows()
    for mode in MODES:
        repository = Repository()
        repository.publish(1)
        with Net() as net, Gateway(net, repository, mode=mode) as gateway:
            run(*net.command(net.cl, ["ethtool", "-K", "cl0", "tx", "on"]))
            for address in (SERVER4, SERVER6):
                for number, padding in ((8, 0), (2, 0), (5, 40), (20, 0)):
                    with Client(net, address) as client:
                        one = [request(rows[n], request_id=n) + bytes(padding)
                               for n in range(number)]
                        client.socket.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(one[0]))
                        client.send(b"".join(one))
                        replies = [client.receive() for _ in one]
                    assert all(replies), (mode, address, number, gateway.counters())
                    assert {reply.request_id for reply in replies} == set(range(number))
                    for reply in replies:
                        assert close_to(reply.floats(), reference(1)[reply.request_id])
            if mode == "generic":
                assert gateway.counters()["xdp_pass_stack"] == 8, gateway.counters()


if __name__ == "__main__":
    matrix = [(f"{mode} {family} {'affinity' if affinity else 'five-tuple'}",
               lambda mode=mode, address=address, affinity=affinity: serves(mode, address, affinity))
              for mode in MODES for family, address in (("IPv4", SERVER4), ("IPv6", SERVER6))
              for affinity in (False, True)]
    main(*matrix, chooses_the_fastest_mode, affinity_keeps_one_worker, same_answer_on_every_path,
         fragments_reach_the_worker, wildcard_answers_from_the_address_asked,
         options_go_up_the_stack, many_queues,
         jumbo_frames_stay_in_xdp, larger_frames_go_up_the_stack, segmented_batches)
