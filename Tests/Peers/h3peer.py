"""An HTTP/3 client and a small server on aioquic: an independent stack to test ours against."""

import asyncio
import ssl
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aioquic.asyncio import connect, serve
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DatagramReceived, DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamReset


class DatagramH3Connection(H3Connection):
    """aioquic announces H3_DATAGRAM (RFC 9297) only together with WebTransport; this one leaves WebTransport out."""

    def _get_local_settings(self):
        settings = super()._get_local_settings()
        settings[0x33] = 1
        return settings


@dataclass
class Exchange:
    headers: dict = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    datagrams: deque = field(default_factory=deque)
    ended: bool = False
    reset: int | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, condition, timeout=10):
        async with asyncio.timeout(timeout):
            while not condition(self):
                self.changed.clear()
                await self.changed.wait()
        return self


class H3Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.h3 = DatagramH3Connection(self._quic)
        self.exchanges: dict[int, Exchange] = {}
        self.terminated: ConnectionTerminated | None = None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.terminated = event
            for exchange in self.exchanges.values():
                exchange.ended = True
                exchange.changed.set()
        if isinstance(event, (StreamReset, StopSendingReceived)) and event.stream_id in self.exchanges:
            exchange = self.exchanges[event.stream_id]
            exchange.reset = event.error_code
            exchange.ended = True
            exchange.changed.set()
        for h3_event in self.h3.handle_event(event):
            exchange = self.exchanges.get(getattr(h3_event, "stream_id", None))
            if exchange is None:
                continue
            if isinstance(h3_event, HeadersReceived):
                exchange.headers.update({k.decode(): v.decode() for k, v in h3_event.headers})
                exchange.ended |= h3_event.stream_ended
            elif isinstance(h3_event, DataReceived):
                exchange.body += h3_event.data
                exchange.ended |= h3_event.stream_ended
            elif isinstance(h3_event, DatagramReceived):
                exchange.datagrams.append(h3_event.data)
            exchange.changed.set()

    def request(self, headers, body=None, end=True):
        """Sends a request; returns its stream ID and the exchange that fills as the response comes."""
        stream = self._quic.get_next_available_stream_id()
        exchange = self.exchanges[stream] = Exchange()
        fields = [(k.encode(), v.encode()) for k, v in headers]
        self.h3.send_headers(stream, fields, end_stream=end and body is None)
        if body is not None:
            self.h3.send_data(stream, body, end_stream=end)
        self.transmit()
        return stream, exchange

    def get(self, authority, path="/", extra=()):
        return self.request(
            [(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", path), *extra]
        )

    def connect_udp(self, authority, host, port, token=None):
        fields = [
            (":method", "CONNECT"),
            (":protocol", "connect-udp"),
            (":scheme", "https"),
            (":authority", authority),
            (":path", f"/.well-known/masque/udp/{host.replace(':', '%3A')}/{port}/"),
            ("capsule-protocol", "?1"),
        ]
        if token:
            fields.append(("authorization", f"Bearer {token}"))
        return self.request(fields, end=False)

    def connect_tcp(self, target, token=None):
        fields = [(":method", "CONNECT"), (":authority", target)]
        if token:
            fields.append(("authorization", f"Bearer {token}"))
        return self.request(fields, end=False)

    def send(self, stream, data, end=False):
        self.h3.send_data(stream, data, end_stream=end)
        self.transmit()

    def send_udp(self, stream, payload):
        """A UDP payload under context ID 0 (RFC 9298 section 5)."""
        self.h3.send_datagram(stream, b"\x00" + payload)
        self.transmit()


def client_configuration(ca=None, server_name="cloudbridge.test", **kwargs):
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["h3"], max_datagram_frame_size=65536, server_name=server_name, **kwargs
    )
    if ca:
        configuration.load_verify_locations(str(ca))
    else:
        configuration.verify_mode = ssl.CERT_NONE
    return configuration


@asynccontextmanager
async def h3_client(
    host, port, ca=None, session_ticket_handler=None, token_handler=None, wait_connected=True, **kwargs
):
    async with connect(
        host,
        port,
        configuration=client_configuration(ca, **kwargs),
        create_protocol=H3Client,
        session_ticket_handler=session_ticket_handler,
        token_handler=token_handler,
        wait_connected=wait_connected,
    ) as client:
        yield client


class H3Server(QuicConnectionProtocol):
    """Answers GET with `pages`, and with an echo of the UDP payload on CONNECT-UDP."""

    pages: dict[str, bytes] = {}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.h3 = DatagramH3Connection(self._quic)

    def quic_event_received(self, event):
        for h3_event in self.h3.handle_event(event):
            if isinstance(h3_event, HeadersReceived):
                fields = dict(h3_event.headers)
                if fields.get(b":method") == b"CONNECT":
                    reply = [(b":status", b"200")]
                    if b":protocol" in fields:
                        reply.append((b"capsule-protocol", b"?1"))
                    self.h3.send_headers(h3_event.stream_id, reply)
                else:
                    page = self.pages.get(fields.get(b":path", b"").decode())
                    status = b"404" if page is None else b"200"
                    self.h3.send_headers(h3_event.stream_id, [(b":status", status), (b"server", b"aioquic")])
                    self.h3.send_data(h3_event.stream_id, page or b"", end_stream=True)
            elif isinstance(h3_event, DataReceived) and h3_event.data:
                self.h3.send_data(h3_event.stream_id, h3_event.data, end_stream=h3_event.stream_ended)
            elif isinstance(h3_event, DatagramReceived):
                self.h3.send_datagram(h3_event.stream_id, h3_event.data)
        self.transmit()


@asynccontextmanager
async def h3_server(host, port, certificate, key, pages, retry=False, **kwargs):
    configuration = QuicConfiguration(
        is_client=False, alpn_protocols=["h3"], max_datagram_frame_size=65536, **kwargs
    )
    configuration.load_cert_chain(str(certificate), str(key))
    handler = type("Server", (H3Server,), {"pages": pages})
    tickets = {}
    server = await serve(
        host,
        port,
        configuration=configuration,
        create_protocol=handler,
        retry=retry,
        session_ticket_handler=lambda ticket: tickets.update({ticket.ticket: ticket}),
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
    )
    try:
        yield server
    finally:
        server.close()
