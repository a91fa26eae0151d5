"""The emulated link keeps to what it was told, and both programs work across it."""

import hashlib
import os
import socket
import threading
import time

import lab
import pytest
import socks
from lab import LEFT, RIGHT, Lab

pytestmark = pytest.mark.skipif(lab.missing() is not None, reason=f"NO LINK EMULATOR: {lab.missing()}")


def datagram_sockets(link):
    server = link.inside(link.right, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind((RIGHT, 0))
    server.settimeout(5)
    client = link.inside(link.left, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client.bind((LEFT, 0))
    client.settimeout(5)
    client.connect(server.getsockname())
    return client, server


def received(server):
    """How many come until none has come for a while."""
    server.settimeout(0.3)
    count = 0
    try:
        while server.recv(2048):
            count += 1
    except TimeoutError:
        return count


def test_a_packet_takes_the_delay_each_way():
    with Lab(rate=100, delay=40, queue=100_000) as link:
        client, server = datagram_sockets(link)
        start = time.monotonic()
        client.send(b"there")
        data, address = server.recvfrom(100)
        server.sendto(b"and back", address)
        assert client.recv(100) == b"and back" and data == b"there"
        # Never early. How late is the machine's affair, and no test's.
        assert time.monotonic() - start >= 0.080


def test_the_queue_holds_its_bytes_and_drops_the_rest():
    # 28 bytes of headers each: 20 of 1000 bytes and the one in service fit into 20,560 bytes.
    with Lab(rate=1, delay=1, queue=20 * 1028) as link:
        client, server = datagram_sockets(link)
        for _ in range(60):
            client.send(bytes(1000))
        # 8.2 ms each: the burst is over long before the third has left.
        assert 20 <= received(server) <= 24
    assert 36 <= link.counts["queueFull"] <= 40


def test_chance_loses_its_share_and_the_same_with_the_same_seed():
    lost = []
    for _ in range(2):
        with Lab(rate=200, delay=1, queue=10_000_000, loss=10, seed=7) as link:
            client, server = datagram_sockets(link)
            came = 0
            for _ in range(10):  # no more at a time than the sockets' own buffers hold
                for _ in range(100):
                    client.send(bytes(100))
                came += received(server)
        lost.append(link.counts["lostByChance"])
        assert came + lost[-1] == 1000
    assert lost[0] == lost[1] and 60 < lost[0] < 140


def test_a_download_crosses_a_lossy_link_whole(tmp_path):
    body = os.urandom(3_000_000)
    with Lab(rate=50, delay=15, queue=187_500, loss=1) as link, lab.bridge(link, tmp_path) as (_, terminal):
        origin = link.inside(link.right, lambda: socket.create_server(("127.0.0.1", 0)))

        def serve():
            connection, _ = origin.accept()
            with connection:
                connection.sendall(body)

        threading.Thread(target=serve, daemon=True).start()
        reader = link.inside(link.left, socks.socksocket)
        reader.set_proxy(socks.SOCKS5, "127.0.0.1", terminal.socks_port)
        reader.settimeout(60)
        reader.connect(("127.0.0.1", origin.getsockname()[1]))
        digest = hashlib.sha256()
        while chunk := reader.recv(1 << 16):
            digest.update(chunk)
        assert digest.digest() == hashlib.sha256(body).digest()
        origin.close()
        reader.close()
