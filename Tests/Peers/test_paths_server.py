"""cbpop as the server of aioquic over paths that delay, lose, damage and rebind: HTTP/3 and tunnels must not mind.

Each test checks that the bytes arrive whole and that what it is about really happened, seen from the path or the peer.
"""

import asyncio
import contextlib
import os

import pytest
from aioquic.tls import CipherSuite, Epoch
from h3peer import h3_client
from link import Conditions, Link

from conftest import PoP

PAYLOAD = os.urandom(400_000)


@pytest.fixture(scope="module")
def strict_pop(tmp_path_factory):
    """A PoP that wants every client's address proved."""
    pop = PoP(tmp_path_factory.mktemp("retry-pop"), "transport:\n  retry: always").start()
    yield pop
    pop.stop()


def path(pop, **conditions):
    return Link(("127.0.0.1", pop.quic_port), Conditions(**conditions))


def run(coroutine, seconds=60):
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


async def page(link, pop, **options):
    async with h3_client("127.0.0.1", link.port, pop.ca, **options) as client:
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


def transfer(pop, echo, link, meanwhile=None, seconds=110, payload=PAYLOAD, **options):
    async def story():
        async with h3_client("127.0.0.1", link.port, pop.ca, **options) as client:
            await echoed(client, pop, echo, payload, meanwhile and (lambda: meanwhile(client)))

    run(story(), seconds)


def test_handshake(pop):
    with path(pop) as link:
        run(page(link, pop))


def test_transfer(pop, echo):
    with path(pop) as link:
        transfer(pop, echo, link)


def test_chacha20(pop):
    with path(pop) as link:
        suites = [CipherSuite.CHACHA20_POLY1305_SHA256]
        client = run(page(link, pop, cipher_suites=suites))
        assert client._quic.tls.key_schedule.cipher_suite == suites[0]


def test_multiplexing(pop):
    async def story(link):
        async with h3_client("127.0.0.1", link.port, pop.ca) as client:
            for _ in range(10):
                exchanges = [client.get("cloudbridge.test", "/healthz")[1] for _ in range(100)]
                for exchange in exchanges:
                    await exchange.until(lambda e: e.ended)
                    assert exchange.headers[":status"] == "200"

    with path(pop) as link:
        run(story(link))


def test_retry(strict_pop):
    with path(strict_pop) as link:
        run(page(link, strict_pop))
        assert link.seen.count("retry")


def test_a_token_spares_the_retry(strict_pop):
    tokens = []
    with path(strict_pop) as link:
        run(page(link, strict_pop, token_handler=tokens.append))
        assert tokens
    with path(strict_pop) as link:
        run(page(link, strict_pop, token=tokens[-1]))
        assert not link.seen.count("retry")


def test_resumption(pop):
    tickets = []

    async def first(link):
        async with h3_client("127.0.0.1", link.port, pop.ca, session_ticket_handler=tickets.append) as client:
            _, exchange = client.get("cloudbridge.test", "/healthz")
            await exchange.until(lambda e: e.ended)
            await asyncio.sleep(0.2)

    with path(pop) as link:
        run(first(link))
        assert run(page(link, pop, session_ticket=tickets[0]))._quic.tls.session_resumed


def test_zerortt(pop):
    tickets = []

    async def story(link):
        async with h3_client("127.0.0.1", link.port, pop.ca, session_ticket_handler=tickets.append) as client:
            _, exchange = client.get("cloudbridge.test", "/healthz")
            await exchange.until(lambda e: e.ended)
            await asyncio.sleep(0.2)
        async with h3_client(
            "127.0.0.1", link.port, pop.ca, session_ticket=tickets[0], wait_connected=False
        ) as client:
            _, exchange = client.get("cloudbridge.test", "/healthz")
            await exchange.until(lambda e: e.ended)
            assert exchange.headers[":status"] == "200"
            assert client._quic.tls.early_data_accepted
        assert link.seen.count("0rtt")

    with path(pop) as link:
        run(story(link))


def test_keyupdate(pop, echo):
    with path(pop) as link:
        phases = []

        def update(client):
            client._quic.request_key_update()
            phases.append(client)

        transfer(pop, echo, link, meanwhile=update)
        crypto = phases[0]._quic._cryptos[Epoch.ONE_RTT]
        assert (crypto.send.key_phase, crypto.recv.key_phase) == (1, 1)


def test_amplificationlimit(pop):
    """A client that falls silent after its first flight gets no more than three times what it sent."""

    async def story(link):
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(4):
                async with h3_client("127.0.0.1", link.port, pop.ca):
                    pass

    with path(pop, drops_to_server=range(2, 1000)) as link:
        run(story(link))
        assert 0 < link.seen.amplification <= 3


@pytest.mark.parametrize("seed", range(5))
def test_handshakeloss(pop, seed):
    with path(pop, seed=seed, loss=0.3) as link:
        run(page(link, pop, idle_timeout=60.0))


def test_transferloss(pop, echo):
    with path(pop, loss=0.02) as link:
        transfer(pop, echo, link)
        assert link.seen.lost > 0


@pytest.mark.parametrize("seed", range(5))
def test_handshakecorruption(pop, seed):
    with path(pop, seed=seed, corruption=0.3) as link:
        run(page(link, pop, idle_timeout=60.0))


def test_transfercorruption(pop, echo):
    with path(pop, corruption=0.02) as link:
        transfer(pop, echo, link)
        assert link.seen.damaged > 0


def test_rebind_port(pop, echo):
    with path(pop) as link:
        transfer(pop, echo, link, meanwhile=lambda client: link.rebind())
        assert link.seen.rebinds == 1


def test_rebind_addr(pop, echo):
    with path(pop) as link:
        transfer(pop, echo, link, meanwhile=lambda client: link.rebind("127.0.0.77"))
        assert link.seen.rebinds == 1


def test_connectionmigration(pop, echo):
    """The client changes its connection ID with its address, as one that moves on purpose does."""
    with path(pop) as link:

        def move(client):
            client.change_connection_id()
            link.rebind("127.0.0.78")

        transfer(pop, echo, link, meanwhile=move)
        assert link.seen.rebinds == 1
