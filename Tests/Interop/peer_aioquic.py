"""HTTP/0.9 and HTTP/3 on aioquic, with cbquic's command line."""

import asyncio
from pathlib import Path

import peer
from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived
from aioquic.tls import CipherSuite


class Server(QuicConnectionProtocol):
    directory = Path(".")
    alpn = "hq-interop"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.requests = {}
        self.h3 = H3Connection(self._quic) if self.alpn == "h3" else None

    def quic_event_received(self, event):
        if self.h3:
            for part in self.h3.handle_event(event):
                if isinstance(part, HeadersReceived):
                    self.h3.send_headers(part.stream_id, [(b":status", b"200")])
                    self.h3.send_data(part.stream_id, self.file(dict(part.headers)[b":path"]), end_stream=True)
        elif isinstance(event, StreamDataReceived):
            request = self.requests.setdefault(event.stream_id, bytearray())
            request += event.data
            if event.end_stream:
                self._quic.send_stream_data(event.stream_id, self.file(request.split()[1]), end_stream=True)
        self.transmit()

    def file(self, path):
        return (self.directory / path.decode().rsplit("/", 1)[-1]).read_bytes()


class Client(QuicConnectionProtocol):
    alpn = "hq-interop"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bodies = {}
        self.ended = {}
        self.h3 = H3Connection(self._quic) if self.alpn == "h3" else None
        self.update_after = None
        self.migrate_after = None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            for waiter in self.ended.values():
                if not waiter.done():
                    waiter.set_exception(ConnectionError(event.reason_phrase or f"closed: {event.error_code:#x}"))
        if self.h3:
            for part in self.h3.handle_event(event):
                if isinstance(part, (HeadersReceived, DataReceived)):
                    self.received(part.stream_id, getattr(part, "data", b""), part.stream_ended)
        elif isinstance(event, StreamDataReceived):
            self.received(event.stream_id, event.data, event.end_stream)

    def received(self, stream, data, ended):
        self.bodies[stream] += data
        count = sum(map(len, self.bodies.values()))
        if self.update_after is not None and count >= self.update_after:
            self.update_after = None
            self._quic.request_key_update()
        if self.migrate_after is not None and count >= self.migrate_after:
            self.migrate_after = None
            asyncio.ensure_future(self.migrate())
        if ended and not self.ended[stream].done():
            self.ended[stream].set_result(None)

    async def migrate(self):
        """From another address and with another connection ID, as one that moves on purpose does (RFC 9000 9.5)."""
        self._quic.change_connection_id()
        # The new socket becomes this protocol's.
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=("::ffff:127.0.0.2", 0))
        await self.ping()

    async def get(self, name, options):
        stream = self._quic.get_next_available_stream_id()
        self.bodies[stream] = bytearray()
        self.ended[stream] = asyncio.get_running_loop().create_future()
        if self.h3:
            self.h3.send_headers(stream, peer.request(options.name, name), end_stream=True)
        else:
            self._quic.send_stream_data(stream, f"GET /{name}\r\n".encode(), end_stream=True)
        self.transmit()
        await self.ended[stream]
        return bytes(self.bodies.pop(stream))


def configuration(options, is_client):
    result = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[options.alpn],
        max_stream_data=4 << 20,
        max_data=8 << 20,
        original_version=peer.VERSIONS[options.initial_version or "v1"] if is_client else None,
        supported_versions=options.versions,
        cipher_suites=[CipherSuite.CHACHA20_POLY1305_SHA256] if options.chacha20 else None,
    )
    if is_client:
        result.load_verify_locations(options.ca)
        result.server_name = options.name
    else:
        result.load_cert_chain(options.cert, options.key)
    return result


async def run_get(options):
    tickets = []
    Client.alpn = options.alpn
    for group in peer.groups(options):
        settings = configuration(options, True)
        resumes = options.connections == "two" and tickets
        if resumes:
            settings.session_ticket = tickets[-1]
        async with connect(
            options.host,
            options.port,
            configuration=settings,
            create_protocol=Client,
            session_ticket_handler=tickets.append,
            wait_connected=not (resumes and options.early),
        ) as client:
            client.update_after = 100_000 if options.key_update else None
            client.migrate_after = options.migrate
            bodies = await asyncio.gather(*(client.get(name, options) for name in group))
            if options.connections == "two":
                await asyncio.sleep(0.3)  # tickets follow the handshake
        for name, body in zip(group, bodies):
            (Path(options.dir) / name).write_bytes(body)


async def run_serve(options):
    tickets = {}
    Server.directory, Server.alpn = Path(options.dir), options.alpn
    await serve(
        options.host,
        options.port,
        configuration=configuration(options, False),
        create_protocol=Server,
        retry=options.retry,
        session_ticket_handler=lambda ticket: tickets.__setitem__(ticket.ticket, ticket),
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
    )
    print(f"aioquic serves at {options.address}", flush=True)
    await asyncio.Event().wait()


peer.run(run_get, run_serve)
