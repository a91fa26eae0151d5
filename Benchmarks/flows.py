"""Bulk flows from the right of a lab to its left, each by another transport; each counts what reached its reader."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from lab import RIGHT, ROOT, bridge

BLOCK = bytes(1 << 16)
PICOQUIC = ROOT / ".venv-picoquic" / "bin" / "python"


class Progress:
    """How many bytes the reader had when."""

    def __init__(self):
        self.points = [(time.monotonic(), 0)]

    def add(self, count):
        self.points.append((time.monotonic(), self.points[-1][1] + count))

    def at(self, instant):
        return max((count for when, count in self.points if when <= instant), default=0)


def _read(connection, progress):
    with contextlib.suppress(OSError):
        while chunk := connection.recv(1 << 16):
            progress.add(len(chunk))


def _serve(listener, congestion=None):
    with contextlib.suppress(OSError):
        if congestion:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        connection, _ = listener.accept()
        with connection:
            while True:
                connection.sendall(BLOCK)


@contextlib.contextmanager
def tcp(lab, congestion):
    """The kernel's own TCP."""
    progress = Progress()
    listener = lab.inside(lab.right, lambda: socket.create_server((RIGHT, 0)))
    threading.Thread(target=_serve, args=(listener, congestion), daemon=True).start()
    reader = lab.inside(lab.left, lambda: socket.create_connection(listener.getsockname(), 10))
    reader.settimeout(None)
    threading.Thread(target=_read, args=(reader, progress), daemon=True).start()
    try:
        yield progress
    finally:
        for s in (reader, listener):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()


@contextlib.contextmanager
def cloudbridge(lab, congestion):
    """cbpop and cbterm: a web server's bytes through a CONNECT tunnel, read by SOCKS."""
    import socks

    progress = Progress()
    with tempfile.TemporaryDirectory() as directory:
        with bridge(lab, Path(directory), congestion=congestion) as (_, terminal):
            listener = lab.inside(lab.right, lambda: socket.create_server(("127.0.0.1", 0)))
            threading.Thread(target=_serve, args=(listener,), daemon=True).start()
            reader = lab.inside(lab.left, socks.socksocket)
            reader.set_proxy(socks.SOCKS5, "127.0.0.1", terminal.socks_port)
            reader.connect(("127.0.0.1", listener.getsockname()[1]))
            threading.Thread(target=_read, args=(reader, progress), daemon=True).start()
            try:
                yield progress
            finally:
                reader.close()
                listener.close()


@contextlib.contextmanager
def picoquic(lab, congestion):
    """picoquic at both ends, by way of aiopquic."""
    program = [PICOQUIC, ROOT / "Benchmarks" / "picoquic_flow.py"]
    progress = Progress()
    with tempfile.TemporaryDirectory() as directory:
        key, certificate = Path(directory) / "key.pem", Path(directory) / "cert.pem"
        subprocess.run(
            [*"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=flow".split()]
            + ["-addext", "subjectAltName=DNS:flow", "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
        server = subprocess.Popen(
            [str(w) for w in lab.command(lab.right, *program, "serve", RIGHT, certificate, key, congestion)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout.readline().strip() == "ready"
        client = subprocess.Popen(
            [str(w) for w in lab.command(lab.left, *program, "get", RIGHT, certificate)], stdout=subprocess.PIPE, text=True
        )

        def read():
            for line in client.stdout:
                progress.add(int(line))

        threading.Thread(target=read, daemon=True).start()
        try:
            yield progress
        finally:
            for process in (client, server):
                process.kill()
                process.wait()


FLOWS = {
    "cbpop BBRv3": (cloudbridge, "bbrv3"),
    "cbpop CUBIC": (cloudbridge, "cubic"),
    "picoquic BBR": (picoquic, "bbr"),
    "kernel TCP CUBIC": (tcp, "cubic"),
    "kernel TCP BBRv1": (tcp, "bbr"),
}


def missing(name):
    """Why a flow cannot be had here; None where it can."""
    kind, congestion = FLOWS[name]
    if kind is tcp:
        available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
        return None if congestion in available else f"this kernel's TCP has no {congestion}"
    if kind is picoquic:
        if not PICOQUIC.exists():
            return "picoquic is not installed (scripts/prerequisites test)"
        return None if shutil.which("openssl") else "openssl is not installed"
    return None if os.environ.get("CBR_TEST_BIN") or (ROOT / ".build").exists() else "nothing is built"
