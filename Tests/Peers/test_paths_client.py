"""cbterm as the client of aioquic over paths that delay, lose, damage and rebind; the server's tunnels echo."""

import asyncio
import contextlib
import json
import os
import socket
import threading

import pytest
import socks
from aioquic.tls import CipherSuite
from h3peer import h3_server
from link import Conditions, Link

from conftest import Terminal, free_port, profile_for

PAYLOAD = os.urandom(400_000)
PAGES = {"/.well-known/cloudbridge/session": json.dumps({"pop": "aioquic1"}).encode(), "/healthz": b"ok\n"}


@contextlib.contextmanager
def serving(pop, retry=False, **options):
    """An aioquic server with just enough of a PoP's pages; yields its port."""
    port = free_port(socket.SOCK_DGRAM)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready = threading.Event()

    async def serve():
        certificate = (pop.state / "pop.pem", pop.state / "pop-key.pem")
        async with h3_server("127.0.0.1", port, *certificate, PAGES, retry=retry, **options):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


@pytest.fixture
def connecting(pop, tmp_path):
    """Makes a signed-in terminal that reaches an aioquic server over a path; the server's options go by name."""
    with contextlib.ExitStack() as stack:

        def make(conditions=Conditions(), **options):
            server = ("127.0.0.1", stack.enter_context(serving(pop, **options)))
            link = stack.enter_context(Link(server, conditions))
            profile = profile_for(pop).replace(
                "domain: cloudbridge.test", f'addresses: ["127.0.0.1:{link.port}"]\n  serverName: cloudbridge.test'
            )
            terminal = Terminal(tmp_path, profile).login(pop)
            stack.callback(terminal.stop)
            return terminal, link

        yield make


def connect(terminal, *more, timeout=60):
    result = terminal.run("-c", "; ".join(["connect", *more]), "--json", timeout=timeout)
    assert result.returncode == 0, result.stderr
    assert '"aioquic1"' in result.stdout
    return result.stdout


def transfer(terminal, meanwhile=None, payload=PAYLOAD):
    """Sends the payload through a tunnel and reads its echo."""
    terminal.start()
    terminal.say("connect")
    terminal.output.wait_for("Connected to aioquic1", timeout=40)
    s = socks.socksocket()
    s.set_proxy(socks.SOCKS5, "127.0.0.1", terminal.socks_port)
    s.settimeout(60)
    s.connect(("192.0.2.1", 7))
    writer = threading.Thread(target=s.sendall, args=(payload,), daemon=True)
    writer.start()
    received = bytearray()
    while len(received) < len(payload):
        chunk = s.recv(65536)
        assert chunk, f"ended after {len(received)} bytes"
        received += chunk
        if meanwhile and len(received) > len(payload) // 4:
            meanwhile()
            meanwhile = None
    assert received == payload
    s.close()


def test_handshake(connecting):
    connect(connecting()[0], "ping -c 2")


def test_transfer(connecting):
    transfer(connecting()[0])


def test_chacha20(connecting):
    terminal, _ = connecting(cipher_suites=[CipherSuite.CHACHA20_POLY1305_SHA256])
    assert "TLS_CHACHA20_POLY1305_SHA256" in connect(terminal, "status")


def test_retry(connecting):
    terminal, link = connecting(retry=True)
    connect(terminal)
    assert link.seen.count("retry")


def test_resumption(connecting):
    terminal, _ = connecting()
    said = connect(terminal, "disconnect", "connect", "status")
    assert '"resumed"' in said or '"early data"' in said


def test_zerortt(connecting):
    terminal, link = connecting()
    assert '"early data"' in connect(terminal, "disconnect", "connect", "status")
    assert link.seen.count("0rtt")


@pytest.mark.parametrize("seed", range(3))
def test_handshakeloss(connecting, seed):
    connect(connecting(Conditions(seed=seed, loss=0.3))[0])


def test_transferloss(connecting):
    terminal, link = connecting(Conditions(loss=0.02))
    transfer(terminal)
    assert link.seen.lost > 0


@pytest.mark.parametrize("seed", range(3))
def test_handshakecorruption(connecting, seed):
    connect(connecting(Conditions(seed=seed, corruption=0.3))[0])


def test_transfercorruption(connecting):
    terminal, link = connecting(Conditions(corruption=0.02))
    transfer(terminal)
    assert link.seen.damaged > 0


def test_rebind_port(connecting):
    terminal, link = connecting()
    transfer(terminal, meanwhile=link.rebind)
    assert link.seen.rebinds == 1


def test_rebind_addr(connecting):
    terminal, link = connecting()
    transfer(terminal, meanwhile=lambda: link.rebind("127.0.0.79"))
    assert link.seen.rebinds == 1
