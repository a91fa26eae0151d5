"""Two network namespaces with one emulated link between them: left is where clients are, right where servers are.

Needs root. Everything in it goes when the `with` ends, and nothing is sent outside of it.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

from namespaces import call_inside

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("CBR_TEST_BIN", ROOT / ".build" / "debug"))
LEFT, RIGHT = "10.9.0.1", "10.9.0.2"
_number = 0


def missing():
    """Why a lab cannot be had here; None where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not os.path.exists("/dev/net/tun"):
        return "this kernel has no /dev/net/tun"
    if not shutil.which("ip"):
        return "iproute2 is not installed"
    return None


class Lab:
    """Rate in Mbit/s, delay in ms one way, queue in bytes, loss in per cent; the same both ways."""

    def __init__(self, rate, delay, queue, loss=0.0, seed=1, log=None):
        global _number
        _number += 1
        self.left, self.right = (f"cb{os.getpid()}-{_number}{side}" for side in "lr")
        self.arguments = ["--rate", rate, "--delay", delay, "--queue", int(queue), "--loss", loss, "--seed", seed]
        if log:
            self.arguments += ["--log", log]
        self.counts = None
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        try:
            for name in (self.left, self.right):
                subprocess.run(["ip", "netns", "add", name], check=True)
                self.stack.callback(self._remove, name)
                subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
            command = [BIN / "cblink", "--left", f"{self.left}/tun0", "--right", f"{self.right}/tun0", *self.arguments]
            self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
            self.stack.callback(self._stop)
            assert self.process.stdout.readline().strip() == "ready", "cblink did not start"
            for name, address in ((self.left, LEFT), (self.right, RIGHT)):
                subprocess.run(["ip", "-n", name, "address", "add", f"{address}/24", "dev", "tun0"], check=True)
                subprocess.run(["ip", "-n", name, "link", "set", "tun0", "up", "txqueuelen", "10000"], check=True)
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        self.stack.close()

    def _stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            text, _ = self.process.communicate(timeout=10)
            self.counts = json.loads(text)

    @staticmethod
    def _remove(name):
        pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", name], check=False)

    def command(self, side, *words):
        """What runs `words` at one side."""
        return ["nsenter", f"--net=/run/netns/{side}", *(str(word) for word in words)]

    def inside(self, side, function, *arguments):
        """Calls `function` on a thread that lives at one side: sockets that it makes belong there, wherever they go."""
        return call_inside(side, function, *arguments)

    def forward(self, port):
        """Loopback's TCP port of the right side, at the left side too, without crossing the link."""
        listener = self.inside(self.left, lambda: socket.create_server(("127.0.0.1", port)))
        self.stack.callback(listener.close)

        def pump(source, sink):
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

        def accept():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                server = self.inside(self.right, lambda: socket.create_connection(("127.0.0.1", port)))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()


@contextlib.contextmanager
def bridge(lab, directory, settings="", transport="", congestion=None):
    """A `cbpop` at the right and a `cbterm` connected to it at the left."""
    from conftest import PoP, Terminal, profile_for

    environment = {"CBR_CC": congestion} if congestion else {}
    pop = PoP(directory, settings, listen=RIGHT, prefix=lab.command(lab.right), environment=environment)
    try:
        pop.start()
        lab.forward(pop.issuer_port)
        profile = profile_for(pop, transport).replace(
            "  domain: cloudbridge.test\n", f'  addresses: ["{RIGHT}:{pop.quic_port}"]\n  serverName: cloudbridge.test\n'
        )
        terminal = Terminal(directory, profile, prefix=lab.command(lab.left), environment=environment)
        lab.inside(lab.right, lambda: terminal.login(pop))
        terminal.start()
        try:
            terminal.say("connect")
            terminal.output.wait_for("Connected to", timeout=40)
            yield pop, terminal
        finally:
            terminal.stop()
    finally:
        pop.stop()

