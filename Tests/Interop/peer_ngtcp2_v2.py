"""A server of HTTP/0.9 on ngtcp2 1.19, by way of webtransport-py, with cbquic's command line.

It answers in the version that the client begins with, version 2 of RFC 9369 among them, which Debian's ngtcp2 does not
know. It has no switch for going from one version to another, and its client begins in version 1 alone.
"""

import select
import socket
from pathlib import Path

import peer
from webtransport.webtransport_ext import quic

WINDOW = 1 << 20


def configuration(options):
    result = quic.Config()
    result.cert_file, result.key_file, result.alpn_protocols = options.cert, options.key, [options.alpn]
    result.max_streams_bidi, result.max_data, result.max_stream_data_bidi_remote = 100, WINDOW, WINDOW
    result.idle_timeout_ns = 30_000_000_000
    return result


def main():
    options = peer.arguments()
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.bind((options.host, options.port))
    print(f"ngtcp2 {quic.get_version()} serves at {options.address}", flush=True)
    connection = None  # one at a time
    while True:
        timeout = connection.get_timeout() if connection else None
        if select.select([port], [], [], timeout and timeout / 1e9)[0]:
            datagram, client = port.recvfrom(65536)
            if connection is None or connection.is_closed():
                connection = quic.Connection.accept(configuration(options), datagram)
            connection.receive(datagram)
        else:
            connection.handle_timeout()
        while event := connection.next_event():
            if event.type == quic.EventType.STREAM_DATA and event.fin:
                name = event.data.split()[1].decode().rsplit("/", 1)[-1]
                connection.send_stream_data(event.stream_id, (Path(options.dir) / name).read_bytes(), True)
        while datagram := connection.send():
            port.sendto(datagram, client)


main()
