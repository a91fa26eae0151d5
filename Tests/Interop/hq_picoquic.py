"""hq-interop on picoquic, by way of aiopquic, with cbquic's command line: hq_picoquic.py serve|get ADDRESS ..."""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from aiopquic.asyncio import QuicConnectionProtocol, connect, serve
from aiopquic.quic.configuration import QuicConfiguration
from aiopquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived


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
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bodies = {}
        self.ended = {}
        self.handshake = None

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.handshake = event
        elif isinstance(event, ConnectionTerminated):
            for waiter in self.ended.values():
                if not waiter.done():
                    waiter.set_exception(ConnectionError(event.reason_phrase or f"closed: {event.error_code:#x}"))
        elif isinstance(event, StreamDataReceived) and event.stream_id in self.bodies:
            self.bodies[event.stream_id] += bytes(event.data)
            if event.end_stream and not self.ended[event.stream_id].done():
                self.ended[event.stream_id].set_result(None)

    async def get(self, name):
        stream = self._quic.get_next_available_stream_id()
        self.bodies[stream] = bytearray()
        self.ended[stream] = asyncio.get_running_loop().create_future()
        await self._quic.send_stream_data_drained(stream, f"GET /{name}\r\n".encode(), end_stream=True)
        await self.ended[stream]
        return bytes(self.bodies.pop(stream))


def configuration(options, is_client, tickets=None):
    result = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=["hq-interop"],
        cipher_suite=0x1303 if options.chacha20 else None,
        key_update_interval=int(options.key_update) if options.key_update else None,
        congestion_control_algorithm="cubic",
        max_streams_bidi=1000,
        socket_buffer_size=1 << 20,
    )
    if is_client:
        result.cafile = options.ca
        result.server_name = options.name
        result.session_ticket_file = tickets
    else:
        result.load_cert_chain(options.cert, options.key)
    return result


async def run_get(options, host, port):
    first, rest = options.names[:1], options.names[1:]
    groups = {"one": [options.names], "two": [first, rest], "each": [[n] for n in options.names]}
    with tempfile.TemporaryDirectory() as folder:
        tickets = f"{folder}/tickets" if options.connections == "two" else None
        for index, group in enumerate(groups[options.connections]):
            async with connect(
                host,
                port,
                configuration=configuration(options, True, tickets),
                create_protocol=Client,
                wait_connected=not (index and options.early),
            ) as client:
                bodies = await asyncio.gather(*map(client.get, group))
                if tickets:
                    await asyncio.sleep(0.3)  # tickets follow the handshake
                shaken = client.handshake
                print(
                    json.dumps(
                        {"role": "client", "resumed": shaken.session_resumed, "early": shaken.early_data_accepted}
                    ),
                    flush=True,
                )
            for name, body in zip(group, bodies):
                (Path(options.dir) / name).write_bytes(body)


async def run_serve(options, host, port):
    Server.directory = Path(options.dir)
    server = await serve(
        host, port, configuration=configuration(options, False), create_protocol=Server, retry=options.retry
    )
    print(f"picoquic serves at {host}:{port}", flush=True)
    await asyncio.Event().wait()
    server.close()


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
    except (ConnectionError, TimeoutError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


main()
