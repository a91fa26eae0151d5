"""A bulk flow by picoquic: picoquic_flow.py serve ADDRESS CERTIFICATE KEY CONGESTION | get ADDRESS CERTIFICATE.

The client prints how many bytes more came, ten times a second.
"""

import asyncio
import sys

from aiopquic.asyncio import QuicConnectionProtocol, connect, serve
from aiopquic.quic.configuration import QuicConfiguration
from aiopquic.quic.events import StreamDataReceived

PORT = 4600


class Server(QuicConnectionProtocol):
    task = None

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and self.task is None:
            self.task = asyncio.create_task(self.flood(event.stream_id))

    async def flood(self, stream):
        while True:
            await self._quic.send_stream_data_drained(stream, bytes(1 << 17), end_stream=False)


class Client(QuicConnectionProtocol):
    count = 0

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self.count += len(event.data)


async def main(role, address, certificate, key=None, congestion="bbr"):
    configuration = QuicConfiguration(
        is_client=role == "get",
        alpn_protocols=["flow"],
        congestion_control_algorithm=congestion,
        socket_buffer_size=1 << 20,
    )
    if role == "serve":
        configuration.load_cert_chain(certificate, key)
        await serve(address, PORT, configuration=configuration, create_protocol=Server)
        print("ready", flush=True)
        await asyncio.Event().wait()
    configuration.cafile = certificate
    configuration.server_name = "flow"
    async with connect(address, PORT, configuration=configuration, create_protocol=Client) as client:
        stream = client._quic.get_next_available_stream_id()
        await client._quic.send_stream_data_drained(stream, b"go", end_stream=False)
        while True:
            await asyncio.sleep(0.1)
            print(client.count, flush=True)
            client.count = 0


asyncio.run(main(*sys.argv[1:]))
