"""HTTP/0.9 and HTTP/3 on picoquic, by way of aiopquic, with cbquic's command line.

As a server it speaks picoquic's own HTTP/3; aiopquic has no client of it, so there aioquic's HTTP/3 is put on
picoquic's QUIC.
"""

import asyncio
import ctypes
import socket
import struct
import tempfile
from pathlib import Path

import peer
from aiopquic._binding import _transport
from aiopquic.asyncio import QuicConnectionProtocol, connect, serve
from aiopquic.asyncio.webtransport import serve_webtransport
from aiopquic.quic.configuration import QuicConfiguration
from aiopquic.quic.events import ConnectionTerminated, StreamDataReceived
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic import events as aioquic_events


class Server(QuicConnectionProtocol):
    directory = Path(".")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.requests = {}
        self.tasks = set()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            request = self.requests.setdefault(event.stream_id, bytearray())
            request += bytes(event.data)
            if event.end_stream:
                name = request.split()[1].decode().rsplit("/", 1)[-1]
                task = asyncio.create_task(self.answer(event.stream_id, (self.directory / name).read_bytes()))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    async def answer(self, stream, body):
        for start in range(0, len(body), 1 << 18):
            piece = body[start : start + (1 << 18)]
            await self._quic.send_stream_data_drained(stream, piece, end_stream=start + len(piece) == len(body))


class Client(QuicConnectionProtocol):
    alpn = "hq-interop"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bodies = {}
        self.ended = {}
        self.h3 = None

    def quic_event_received(self, event):
        # The server's settings may come before the handshake's end; none of it may be missed.
        if self.alpn == "h3" and not self.h3:
            self.h3 = H3Connection(self._quic)
        if isinstance(event, ConnectionTerminated):
            for waiter in self.ended.values():
                if not waiter.done():
                    waiter.set_exception(ConnectionError(event.reason_phrase or f"closed: {event.error_code:#x}"))
        elif isinstance(event, StreamDataReceived) and self.h3:
            translated = aioquic_events.StreamDataReceived(bytes(event.data), event.end_stream, event.stream_id)
            for part in self.h3.handle_event(translated):
                if isinstance(part, (HeadersReceived, DataReceived)):
                    self.received(part.stream_id, getattr(part, "data", b""), part.stream_ended)
        elif isinstance(event, StreamDataReceived) and event.stream_id in self.bodies:
            self.received(event.stream_id, bytes(event.data), event.end_stream)

    def received(self, stream, data, ended):
        self.bodies[stream] += data
        if ended and not self.ended[stream].done():
            self.ended[stream].set_result(None)

    def migrate(self):
        """Moves to 127.0.0.2. Only while nothing is sent or received: picoquic's own thread must be asleep."""
        library = ctypes.CDLL(_transport.__file__)
        library.picoquic_current_time.restype = ctypes.c_uint64
        here, there = self._quic.local_address(), self._quic.peer_address()
        code = library.picoquic_probe_new_path(
            ctypes.c_void_p(self._quic._cnx_ptr),
            sockaddr_in(*there),
            sockaddr_in("127.0.0.2", here[1]),
            ctypes.c_uint64(library.picoquic_current_time()),
        )
        if code:
            raise ConnectionError(f"picoquic does not move: {code:#x}")

    async def get(self, name, options):
        stream = self._quic.get_next_available_stream_id()
        self.bodies[stream] = bytearray()
        self.ended[stream] = asyncio.get_running_loop().create_future()
        if self.h3:
            self.h3.send_headers(stream, peer.request(options.name, name), end_stream=True)
        else:
            await self._quic.send_stream_data_drained(stream, f"GET /{name}\r\n".encode(), end_stream=True)
        await self.ended[stream]
        return bytes(self.bodies.pop(stream))


def sockaddr_in(ip, port):
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(ip) + bytes(8)


def configuration(options, is_client, tickets=None):
    result = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[options.alpn],
        cipher_suite=0x1303 if options.chacha20 else None,
        key_update_interval=int(options.key_update) if options.key_update else None,
        congestion_control_algorithm="cubic",
        max_streams_bidi=1000,
        socket_buffer_size=1 << 20,
        supported_versions=options.versions if is_client else None,
        ip_family=socket.AF_INET,
    )
    if is_client:
        result.cafile = options.ca
        result.server_name = options.name
        result.session_ticket_file = tickets
    else:
        result.load_cert_chain(options.cert, options.key)
    return result


async def run_get(options):
    Client.alpn = options.alpn
    with tempfile.TemporaryDirectory() as folder:
        tickets = f"{folder}/tickets" if options.connections == "two" else None
        for index, group in enumerate(peer.groups(options)):
            async with connect(
                options.host,
                options.port,
                configuration=configuration(options, True, tickets),
                create_protocol=Client,
                wait_connected=not (index and options.early),
            ) as client:
                if options.migrate:
                    await asyncio.sleep(0.5)
                    client.migrate()
                bodies = await asyncio.gather(*(client.get(name, options) for name in group))
                if tickets:
                    await asyncio.sleep(0.3)  # tickets follow the handshake
            for name, body in zip(group, bodies):
                (Path(options.dir) / name).write_bytes(body)


async def run_serve(options):
    Server.directory = Path(options.dir)
    settings = configuration(options, False)
    if options.alpn == "h3":
        await serve_webtransport(
            options.host,
            options.port,
            "/webtransport",
            handler=lambda session: None,
            cert_file=options.cert,
            key_file=options.key,
            configuration=settings,
            web_folder=options.dir,
        )
    else:
        await serve(
            options.host, options.port, configuration=settings, create_protocol=Server, retry=options.retry
        )
    print(f"picoquic serves at {options.address}", flush=True)
    await asyncio.Event().wait()


peer.run(run_get, run_serve)
