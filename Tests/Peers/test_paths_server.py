"""cbpop as the server of aioquic over paths that delay, lose, damage and rebind: HTTP/3 and tunnels must not mind.

Each test checks that the bytes arrive whole and that what it is about really happened, seen from the path or the peer.
"""

import asyncio
import contextlib
import os

import pytest
from aioquic.tls import CipherSuite, Epoch
from h3peer import h3_client
from relay import Conditions, Relay

from conftest import PoP

PAYLOAD = os.urandom(400_000)
LOSSY = dict(delay=0.015, rate=10e6)


@pytest.fixture(scope="module")
def strict_pop(tmp_path_factory):
    """A PoP that wants every client's address proved."""
    pop = PoP(tmp_path_factory.mktemp("retry-pop"), "transport:\n  retry: always").start()
    yield pop
    pop.stop()


@contextlib.contextmanager
def path(pop, seed=1, **conditions):
    relay = Relay(pop.quic_port, Conditions(**conditions), seed)
    try:
        yield relay
    finally:
        relay.close()


def run(coroutine, seconds=60):
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


async def page(relay, pop, **options):
    async with h3_client("127.0.0.1", relay.port, pop.ca, **options) as client:
        _, exchange = client.get("cloudbridge.test", "/healthz")
        await exchange.until(lambda e: e.ended, timeout=50)
        assert exchange.headers[":status"] == "200"
        return client


async def echoed(client, pop, echo, payload=PAYLOAD, meanwhile=None):
    """Sends the payload through a TCP tunnel to an echo server and reads it back."""
    stream, exchange = client.connect_tcp(f"127.0.0.1:{echo.tcp_port}", pop.token())
    await exchange.until(lambda e: e.headers, timeout=50)
    assert exchange.headers[":status"] == "200"
    third = len(payload) // 3
    client.send(stream, payload[:third])
    if meanwhile:
        await exchange.until(lambda e: len(e.body) > third // 4, timeout=50)
        meanwhile()
    client.send(stream, payload[third:])
    await exchange.until(lambda e: len(e.body) >= len(payload) or e.ended, timeout=100)
    assert bytes(exchange.body) == payload, f"{len(exchange.body)} bytes came; {client.terminated}"


def transfer(pop, echo, relay, meanwhile=None, seconds=110, payload=PAYLOAD, **options):
    async def story():
        async with h3_client("127.0.0.1", relay.port, pop.ca, **options) as client:
            await echoed(client, pop, echo, payload, meanwhile and (lambda: meanwhile(client)))

    run(story(), seconds)


def test_handshake(pop):
    with path(pop) as relay:
        run(page(relay, pop))


def test_transfer(pop, echo):
    with path(pop, **LOSSY) as relay:
        transfer(pop, echo, relay)


def test_chacha20(pop):
    with path(pop) as relay:
        suites = [CipherSuite.CHACHA20_POLY1305_SHA256]
        client = run(page(relay, pop, cipher_suites=suites))
        assert client._quic.tls.key_schedule.cipher_suite == suites[0]


def test_multiplexing(pop):
    async def story(relay):
        async with h3_client("127.0.0.1", relay.port, pop.ca) as client:
            for _ in range(10):
                exchanges = [client.get("cloudbridge.test", "/healthz")[1] for _ in range(100)]
                for exchange in exchanges:
                    await exchange.until(lambda e: e.ended)
                    assert exchange.headers[":status"] == "200"

    with path(pop) as relay:
        run(story(relay))


def test_retry(strict_pop):
    with path(strict_pop) as relay:
        run(page(relay, strict_pop))
        assert 3 in relay.down.counts.types


def test_a_token_spares_the_retry(strict_pop):
    tokens = []
    with path(strict_pop) as relay:
        run(page(relay, strict_pop, token_handler=tokens.append))
        assert tokens
    with path(strict_pop) as relay:
        run(page(relay, strict_pop, token=tokens[-1]))
        assert 3 not in relay.down.counts.types


def test_resumption(pop):
    tickets = []

    async def first(relay):
        async with h3_client("127.0.0.1", relay.port, pop.ca, session_ticket_handler=tickets.append) as client:
            _, exchange = client.get("cloudbridge.test", "/healthz")
            await exchange.until(lambda e: e.ended)
            await asyncio.sleep(0.2)

    with path(pop) as relay:
        run(first(relay))
        assert run(page(relay, pop, session_ticket=tickets[0]))._quic.tls.session_resumed


def test_zerortt(pop):
    tickets = []

    async def story(relay):
        async with h3_client("127.0.0.1", relay.port, pop.ca, session_ticket_handler=tickets.append) as client:
            _, exchange = client.get("cloudbridge.test", "/healthz")
            await exchange.until(lambda e: e.ended)
            await asyncio.sleep(0.2)
        seen = len(relay.up.counts.types)
        async with h3_client(
            "127.0.0.1", relay.port, pop.ca, session_ticket=tickets[0], wait_connected=False
        ) as client:
            _, exchange = client.get("cloudbridge.test", "/healthz")
            await exchange.until(lambda e: e.ended)
            assert exchange.headers[":status"] == "200"
            assert client._quic.tls.early_data_accepted
        assert 1 in relay.up.counts.types[seen:]

    with path(pop) as relay:
        run(story(relay))


def test_keyupdate(pop, echo):
    with path(pop, **LOSSY) as relay:
        phases = []

        def update(client):
            client._quic.request_key_update()
            phases.append(client)

        transfer(pop, echo, relay, meanwhile=update)
        crypto = phases[0]._quic._cryptos[Epoch.ONE_RTT]
        assert (crypto.send.key_phase, crypto.recv.key_phase) == (1, 1)


def test_amplificationlimit(pop):
    """A client that falls silent after its first flight gets no more than three times what it sent."""

    async def story(relay):
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(4):
                async with h3_client("127.0.0.1", relay.port, pop.ca):
                    pass

    with path(pop) as relay:
        original = relay.up.pass_on

        def first_flight(data, send):
            if relay.down.counts.datagrams == 0:
                original(data, send)

        relay.up.pass_on = first_flight
        run(story(relay))
        assert relay.down.counts.bytes > 0
        assert relay.down.counts.bytes <= 3 * relay.up.counts.bytes


@pytest.mark.parametrize("seed", range(5))
def test_handshakeloss(pop, seed):
    with path(pop, seed=seed * 10, loss=0.3, **LOSSY) as relay:
        run(page(relay, pop, idle_timeout=60.0))


def test_transferloss(pop, echo):
    with path(pop, loss=0.02, **LOSSY) as relay:
        transfer(pop, echo, relay)
        assert relay.down.counts.lost > 0


@pytest.mark.parametrize("seed", range(5))
def test_handshakecorruption(pop, seed):
    with path(pop, seed=seed * 10, corruption=0.3, **LOSSY) as relay:
        run(page(relay, pop, idle_timeout=60.0))


def test_transfercorruption(pop, echo):
    with path(pop, corruption=0.02, **LOSSY) as relay:
        transfer(pop, echo, relay)
        assert relay.down.counts.corrupted > 0


def test_rebind_port(pop, echo):
    with path(pop, **LOSSY) as relay:
        transfer(pop, echo, relay, meanwhile=lambda client: relay.rebind())
        assert relay.rebindings == 1


def test_rebind_addr(pop, echo):
    with path(pop, **LOSSY) as relay:
        transfer(pop, echo, relay, meanwhile=lambda client: relay.rebind("127.0.0.77"))
        assert relay.rebindings == 1


def test_connectionmigration(pop, echo):
    """The client changes its connection ID with its address, as one that moves on purpose does."""
    with path(pop, **LOSSY) as relay:

        def move(client):
            client.change_connection_id()
            relay.rebind("127.0.0.78")

        transfer(pop, echo, relay, meanwhile=move)
        assert relay.rebindings == 1
