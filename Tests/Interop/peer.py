"""What the peers' command lines share: cbquic's switches, and the names of a client's files by connection."""

import argparse
import asyncio
import ssl
import sys


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["serve", "get"])
    parser.add_argument("address")
    for name in ["--cert", "--key", "--ca", "--name", "--dir", "--key-update", "--initial-version"]:
        parser.add_argument(name)
    parser.add_argument("--alpn", default="hq-interop")
    parser.add_argument("--versions", type=lambda text: [VERSIONS[name] for name in text.split(",")], default=[1])
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--connections", default="one")
    parser.add_argument("--migrate", type=int)
    parser.add_argument("--preferred")
    for name in ["--retry", "--early", "--chacha20"]:
        parser.add_argument(name, action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_intermixed_args()
    options.host, port = options.address.rsplit(":", 1)
    options.port = int(port)
    return options


def run(get, serve):
    """Does what the command line says, by coroutines that take its options; a connection that fails ends with 1."""
    options = arguments()
    role, timeout = (get, options.timeout) if options.role == "get" else (serve, None)
    try:
        asyncio.run(asyncio.wait_for(role(options), timeout))
    except (ConnectionError, TimeoutError, ssl.SSLError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


VERSIONS = {"v1": 0x00000001, "v2": 0x6B3343CF}


def groups(options):
    """The files of each connection, in turn."""
    names = options.names
    return {"one": [names], "two": [names[:1], names[1:]], "each": [[name] for name in names]}[options.connections]


def request(authority, name):
    return [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", authority.encode()),
        (b":path", f"/{name}".encode()),
    ]
