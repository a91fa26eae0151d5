"""hq-interop on aioquic, with cbquic's command line: hq_aioquic.py serve|get ADDRESS [switches] [NAME...]"""

import argparse
import asyncio
import json
import ssl
import sys
from pathlib import Path

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived
from aioquic.tls import CipherSuite


class Server(QuicConnectionProtocol):
    directory = Path(".")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.requests = {}

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            request = self.requests.setdefault(event.stream_id, bytearray())
            request += event.data
            if event.end_stream:
                name = request.split()[1].decode().rsplit("/", 1)[-1]
                self._quic.send_stream_data(event.stream_id, (self.directory / name).read_bytes(), end_stream=True)
                self.transmit()


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bodies = {}
        self.ended = {}
        self.handshake = None
        self.terminated = None
        self.update_after = None

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.handshake = event
        elif isinstance(event, ConnectionTerminated):
            self.terminated = event
            for waiter in self.ended.values():
                if not waiter.done():
                    waiter.set_exception(ConnectionError(event.reason_phrase or f"closed: {event.error_code:#x}"))
        elif isinstance(event, StreamDataReceived):
            self.bodies[event.stream_id] += event.data
            if self.update_after is not None and sum(map(len, self.bodies.values())) >= self.update_after:
                self.update_after = None
                self._quic.request_key_update()
            if event.end_stream and not self.ended[event.stream_id].done():
                self.ended[event.stream_id].set_result(None)

    async def get(self, name):
        stream = self._quic.get_next_available_stream_id()
        self.bodies[stream] = bytearray()
        self.ended[stream] = asyncio.get_running_loop().create_future()
        self._quic.send_stream_data(stream, f"GET /{name}\r\n".encode(), end_stream=True)
        self.transmit()
        await self.ended[stream]
        return bytes(self.bodies.pop(stream))


def configuration(options, is_client):
    result = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=["hq-interop"],
        max_stream_data=4 << 20,
        max_data=8 << 20,
        supported_versions=[1],
        cipher_suites=[CipherSuite.CHACHA20_POLY1305_SHA256] if options.chacha20 else None,
    )
    if is_client:
        result.load_verify_locations(options.ca)
        result.server_name = options.name
    else:
        result.load_cert_chain(options.cert, options.key)
    return result


async def run_get(options, host, port):
    tickets = []
    first, rest = options.names[:1], options.names[1:]
    groups = {"one": [options.names], "two": [first, rest], "each": [[n] for n in options.names]}
    for group in groups[options.connections]:
        settings = configuration(options, True)
        resumes = options.connections == "two" and tickets
        if resumes:
            settings.session_ticket = tickets[-1]
        async with connect(
            host,
            port,
            configuration=settings,
            create_protocol=Client,
            session_ticket_handler=tickets.append,
            wait_connected=not (resumes and options.early),
        ) as client:
            client.update_after = 100_000 if options.key_update else None
            bodies = await asyncio.gather(*map(client.get, group))
            if options.connections == "two":
                await asyncio.sleep(0.3)  # tickets follow the handshake
            print(
                json.dumps(
                    {
                        "role": "client",
                        "resumed": client.handshake.session_resumed,
                        "early": client.handshake.early_data_accepted,
                    }
                ),
                flush=True,
            )
        for name, body in zip(group, bodies):
            (Path(options.dir) / name).write_bytes(body)


async def run_serve(options, host, port):
    tickets = {}
    Server.directory = Path(options.dir)
    await serve(
        host,
        port,
        configuration=configuration(options, False),
        create_protocol=Server,
        retry=options.retry,
        session_ticket_handler=lambda ticket: tickets.__setitem__(ticket.ticket, ticket),
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
    )
    print(f"aioquic serves at {host}:{port}", flush=True)
    await asyncio.Event().wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["serve", "get"])
    parser.add_argument("address")
    for name in ["--cert", "--key", "--ca", "--name", "--dir", "--key-update"]:
        parser.add_argument(name)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--connections", default="one")
    for name in ["--retry", "--early", "--chacha20"]:
        parser.add_argument(name, action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_intermixed_args()
    host, port = options.address.rsplit(":", 1)
    role = run_get if options.role == "get" else run_serve
    timeout = options.timeout if options.role == "get" else None
    try:
        asyncio.run(asyncio.wait_for(role(options, host, int(port)), timeout))
    except (ConnectionError, TimeoutError, ssl.SSLError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


main()
