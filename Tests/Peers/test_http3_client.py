"""cbterm as a client of an HTTP/3 server that no one here wrote: aioquic."""

import asyncio
import json
import socket
import threading

import pytest
import socks
from h3peer import h3_server

from conftest import Terminal, free_port, profile_for


@pytest.fixture
def aioquic_pop(pop):
    """An aioquic server with just enough of a PoP's pages; it echoes what tunnels carry."""
    port = free_port(socket.SOCK_DGRAM)
    pages = {"/.well-known/cloudbridge/session": json.dumps({"pop": "aioquic1"}).encode(), "/healthz": b"ok\n"}
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready = threading.Event()

    async def serve():
        async with h3_server("127.0.0.1", port, pop.state / "pop.pem", pop.state / "pop-key.pem", pages):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield port
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


@pytest.fixture
def aioquic_terminal(pop, aioquic_pop, tmp_path):
    profile = profile_for(pop).replace(
        "domain: cloudbridge.test", f"addresses: [\"127.0.0.1:{aioquic_pop}\"]\n  serverName: cloudbridge.test"
    )
    terminal = Terminal(tmp_path, profile).login(pop)
    yield terminal
    terminal.stop()


def test_cbterm_signs_in_and_pings(aioquic_terminal):
    result = aioquic_terminal.run("-c", "connect; ping -c 2", "--json")
    assert result.returncode == 0, result.stderr
    assert '"aioquic1"' in result.stdout


def test_cbterm_tunnels_tcp_through_aioquic(aioquic_terminal):
    terminal = aioquic_terminal.start()
    terminal.say("connect")
    terminal.output.wait_for("Connected to aioquic1")
    s = socks.socksocket()
    s.set_proxy(socks.SOCKS5, "127.0.0.1", terminal.socks_port)
    s.settimeout(15)
    s.connect(("192.0.2.1", 7))
    data = bytes(range(256)) * 1024
    threading.Thread(target=s.sendall, args=(data,), daemon=True).start()
    received = b""
    while len(received) < len(data):
        chunk = s.recv(65536)
        assert chunk, "the tunnel ended early"
        received += chunk
    assert received == data
    s.close()


def test_cbterm_tunnels_udp_through_aioquic(aioquic_terminal):
    terminal = aioquic_terminal.start()
    terminal.say("connect")
    terminal.output.wait_for("Connected to aioquic1")
    s = socks.socksocket(type=socket.SOCK_DGRAM)
    s.set_proxy(socks.SOCKS5, "127.0.0.1", terminal.socks_port)
    s.settimeout(10)
    s.sendto(b"through two stacks", ("192.0.2.1", 7))
    assert s.recvfrom(2048)[0] == b"through two stacks"
    s.close()
