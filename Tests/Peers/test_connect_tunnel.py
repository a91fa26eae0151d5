"""How a CONNECT tunnel of cbpop's ends (RFC 9114 section 4.4): what one side of it does the other hears of."""

import asyncio
import select
import socket
import struct
import threading

import pytest
from h3peer import h3_client

H3_FRAME_UNEXPECTED = 0x105
H3_REQUEST_CANCELLED = 0x10C
H3_CONNECT_ERROR = 0x10F


class Target:
    """A TCP server that takes one connection, and notes what comes and how it ends."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connection = None
        self.received = b""
        self.end = None
        self.changed = threading.Condition()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        try:
            self.connection, _ = self.listener.accept()
        except OSError:
            return
        while True:
            try:
                # A call that waits would keep the connection from being closed.
                if not select.select([self.connection], [], [], 0.05)[0]:
                    continue
                data = self.connection.recv(65536)
                end = None if data else "FIN"
            except ConnectionResetError:
                data, end = b"", "RST"
            except (OSError, ValueError):
                return
            with self.changed:
                self.received += data
                self.end = end
                self.changed.notify_all()
            if end:
                return

    async def until(self, condition, timeout=10):
        def wait():
            with self.changed:
                return self.changed.wait_for(lambda: condition(self), timeout)

        assert await asyncio.to_thread(wait), f"received {len(self.received)} bytes, end: {self.end}"

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def close(self):
        self.listener.close()
        if self.connection:
            self.connection.close()


@pytest.fixture
def target():
    target = Target()
    yield target
    target.close()


def tell(pop, target, story):
    """Runs a story over an open tunnel through which something has gone each way."""

    async def whole():
        async with h3_client("127.0.0.1", pop.quic_port, pop.ca) as client:
            stream, exchange = client.connect_tcp(f"127.0.0.1:{target.port}", pop.token())
            await exchange.until(lambda e: e.headers)
            assert exchange.headers[":status"] == "200"
            client.send(stream, b"there")
            await target.until(lambda t: t.received == b"there")
            target.connection.sendall(b"and back")
            await exchange.until(lambda e: bytes(e.body) == b"and back")
            await story(client, stream, exchange)

    asyncio.run(asyncio.wait_for(whole(), 40))


def reset(client, stream):
    client._quic.reset_stream(stream, H3_REQUEST_CANCELLED)


def stop(client, stream):
    client._quic.stop_stream(stream, H3_REQUEST_CANCELLED)


@pytest.mark.parametrize("act", [reset, stop])
def test_a_client_that_gives_up_its_stream_closes_the_connection(pop, target, act):
    async def story(client, stream, exchange):
        act(client, stream)
        client.transmit()
        await target.until(lambda t: t.end == "RST")
        # The same is done to the other direction.
        await exchange.until(lambda e: e.reset is not None)
        # And the QUIC connection goes on.
        _, page = client.get("cloudbridge.test", "/healthz")
        await page.until(lambda e: e.ended)
        assert page.headers[":status"] == "200"

    tell(pop, target, story)


def test_a_stream_that_breaks_the_rules_closes_the_connection(pop, target):
    async def story(client, stream, exchange):
        # HEADERS are not permitted in a tunnel.
        client._quic.send_stream_data(stream, bytes([0x01, 0x02, 0x00, 0x00]))
        client.transmit()
        await target.until(lambda t: t.end == "RST")
        await exchange.until(lambda e: e.ended)
        assert client.terminated.error_code == H3_FRAME_UNEXPECTED

    tell(pop, target, story)


def test_a_quic_connection_that_ends_closes_the_connection(pop, target):
    async def story(client, stream, exchange):
        client.close()
        await target.until(lambda t: t.end == "RST")

    tell(pop, target, story)


def test_a_target_that_resets_is_a_connect_error(pop, target):
    async def story(client, stream, exchange):
        target.reset()
        await exchange.until(lambda e: e.reset is not None)
        assert exchange.reset == H3_CONNECT_ERROR

    tell(pop, target, story)


def test_each_direction_ends_by_itself(pop, target):
    async def story(client, stream, exchange):
        client.send(stream, b"", end=True)
        await target.until(lambda t: t.end == "FIN")
        target.connection.sendall(b"x" * 300_000)
        await exchange.until(lambda e: len(e.body) == 8 + 300_000)
        assert not exchange.ended
        target.connection.shutdown(socket.SHUT_WR)
        await exchange.until(lambda e: e.ended)
        assert exchange.reset is None

    tell(pop, target, story)


def test_a_target_may_end_first(pop, target):
    async def story(client, stream, exchange):
        target.connection.shutdown(socket.SHUT_WR)
        await exchange.until(lambda e: e.ended)
        assert exchange.reset is None
        client.send(stream, b"y" * 300_000)
        await target.until(lambda t: len(t.received) == 5 + 300_000)
        assert target.end is None
        client.send(stream, b"", end=True)
        await target.until(lambda t: t.end == "FIN")

    tell(pop, target, story)
