"""500 MB over one stream: web server → cbpop → QUIC → cbterm → SOCKS5 → reader. Checks every byte."""

import argparse
import hashlib
import os
import socket
import tempfile
import threading
import time
from pathlib import Path

from programs import cpu_seconds

import socks
from conftest import PoP, Terminal, profile_for

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--megabytes", type=int, default=500)
parser.add_argument("--runs", type=int, default=5)
arguments = parser.parse_args()
size = arguments.megabytes * 1_000_000
block = os.urandom(1_000_000)


def serve(listener):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            for _ in range(arguments.megabytes):
                connection.sendall(block)


expected = hashlib.sha256()
for _ in range(arguments.megabytes):
    expected.update(block)

with tempfile.TemporaryDirectory() as directory:
    directory = Path(directory)
    pop = PoP(directory).start()
    terminal = Terminal(directory, profile_for(pop)).login(pop).start()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    try:
        terminal.say("connect")
        terminal.output.wait_for("Connected to")
        results = []
        for run in range(arguments.runs):
            before = cpu_seconds(pop.process.pid), cpu_seconds(terminal.process.pid)
            began = time.monotonic()
            s = socks.socksocket()
            s.set_proxy(socks.SOCKS5, "127.0.0.1", terminal.socks_port)
            s.connect(("127.0.0.1", listener.getsockname()[1]))
            digest, received = hashlib.sha256(), 0
            while chunk := s.recv(1 << 20):
                digest.update(chunk)
                received += len(chunk)
            elapsed = time.monotonic() - began
            s.close()
            assert received == size and digest.digest() == expected.digest(), f"{received} bytes, or not the same"
            used = cpu_seconds(pop.process.pid) - before[0], cpu_seconds(terminal.process.pid) - before[1]
            results.append(sum(used) / size * 1e9)
            print(
                f"run {run + 1}: {size * 8 / elapsed / 1e9:.2f} Gbit/s, CPU-s/GB: "
                f"PoP {used[0] / size * 1e9:.2f} + client {used[1] / size * 1e9:.2f} = {results[-1]:.2f}"
            )
        results.sort()
        print(f"CPU-s per GB, client + PoP: median {results[len(results) // 2]:.2f}, {results[0]:.2f}–{results[-1]:.2f}")
    finally:
        terminal.stop()
        pop.stop()
