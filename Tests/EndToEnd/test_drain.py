"""A PoP that ends while it is used: nobody may notice."""

import re
import socket
import threading
import time

import pytest
import socks

from conftest import PoP, Terminal, profile_for, wait_until


class Traffic:
    """Opens short tunnels by SOCKS all the time, and keeps some open; every byte must come back."""

    def __init__(self, terminal, echo, workers=6, lasting=4):
        self.terminal, self.echo = terminal, echo
        self.opened, self.failures, self.slowest = 0, [], 0.0
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.lasting_end = threading.Event()
        self.threads = [threading.Thread(target=self._open_always, daemon=True) for _ in range(workers)]
        self.lasting = [threading.Thread(target=self._last, daemon=True) for _ in range(lasting)]
        for thread in self.threads + self.lasting:
            thread.start()

    def _connect(self):
        s = socks.socksocket()
        s.set_proxy(socks.SOCKS5, "127.0.0.1", self.terminal.socks_port)
        s.settimeout(20)
        s.connect(("127.0.0.1", self.echo.tcp_port))
        return s

    @staticmethod
    def _echo(s, text):
        s.sendall(text)
        got = b""
        while len(got) < len(text):
            piece = s.recv(65536)
            if not piece:
                raise OSError(f"the tunnel ended after {len(got)} of {len(text)} bytes")
            got += piece
        assert got == text

    def _open_always(self):
        number = 0
        while not self.ending.is_set():
            number += 1
            began = time.monotonic()
            try:
                with self._connect() as s:
                    self._echo(s, b"%d " % number * 500)
            except Exception as error:
                with self.lock:
                    self.failures.append(f"short tunnel {number}: {error!r}")
            with self.lock:
                self.opened += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(0.01)

    def _last(self):
        try:
            with self._connect() as s:
                while not self.lasting_end.is_set():
                    self._echo(s, b"still here" * 100)
                    time.sleep(0.02)
        except Exception as error:
            with self.lock:
                self.failures.append(f"lasting tunnel: {error!r}")

    def end_lasting(self):
        self.lasting_end.set()
        for thread in self.lasting:
            thread.join(30)

    def end(self):
        self.end_lasting()
        self.ending.set()
        for thread in self.threads:
            thread.join(30)
        assert not self.failures, self.failures[:5]
        assert not any(thread.is_alive() for thread in self.threads + self.lasting)


def tunnels_counted(pop):
    """TCP tunnels that a PoP which has ended says it opened."""
    return int(re.search(r" tcp=(\d+)", pop.log.text).group(1))


@pytest.fixture
def two_pops(tmp_path):
    directories = [tmp_path / "one", tmp_path / "two"]
    for directory in directories:
        directory.mkdir()
    drain = "limits:\n  drainTimeout: 60s\n"
    one = PoP(directories[0], drain, name="one1").start()
    two = PoP(directories[1], drain, name="two2", state=one.state, trusts=one).start()
    yield one, two
    one.stop()
    two.stop()


def test_a_pop_drains_and_no_request_fails(two_pops, tmp_path, echo):
    one, two = two_pops
    directory = tmp_path / "client"
    directory.mkdir()
    profile = profile_for(one).replace(
        "  domain: cloudbridge.test",
        f"  addresses: ['127.0.0.1:{one.quic_port}', '127.0.0.1:{two.quic_port}']\n  serverName: cloudbridge.test",
    )
    terminal = Terminal(directory, profile).login(one).start()
    try:
        terminal.say("connect")
        terminal.output.wait_for("Connected to one1")
        traffic = Traffic(terminal, echo)
        wait_until(lambda: traffic.opened > 20, what="twenty tunnels")

        one.process.terminate()
        terminal.output.wait_for("one1 is going away")
        terminal.output.wait_for("connected to two2")
        moved = traffic.opened
        wait_until(lambda: traffic.opened > moved + 50, timeout=30, what="fifty tunnels at the other PoP")
        # It waits for the tunnels that it has, and for nothing else.
        assert one.process.poll() is None
        traffic.end_lasting()
        assert one.process.wait(10) == 0, one.log.text

        before = traffic.opened
        wait_until(lambda: traffic.opened > before + 20, timeout=30, what="twenty tunnels more")
        traffic.end()
        assert traffic.slowest < 5, traffic.slowest
        terminal.stop()
        two.stop()
        assert tunnels_counted(one) >= 24 and tunnels_counted(two) >= 50
        assert tunnels_counted(one) + tunnels_counted(two) == traffic.opened + 4
    finally:
        terminal.stop()


def test_a_drain_ends_in_time(tmp_path, echo):
    """A tunnel that does not end is ended."""
    pop = PoP(tmp_path, "limits:\n  drainTimeout: 1s\n").start()
    directory = tmp_path / "client"
    directory.mkdir()
    terminal = Terminal(directory, profile_for(pop)).login(pop).start()
    try:
        terminal.say("connect")
        terminal.output.wait_for("Connected to test1")
        s = socks.socksocket()
        s.set_proxy(socks.SOCKS5, "127.0.0.1", terminal.socks_port)
        s.settimeout(10)
        s.connect(("127.0.0.1", echo.tcp_port))
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        began = time.monotonic()
        pop.process.terminate()
        assert pop.process.wait(10) == 0, pop.log.text
        assert 0.9 < time.monotonic() - began < 5
        # RFC 9114 §4.4: the application learns that its connection did not end by itself.
        with pytest.raises(OSError):
            while s.recv(10):
                pass
            raise AssertionError("a proper end")
        # The proxy's listener stays.
        socket.create_connection(("127.0.0.1", terminal.socks_port), 5).close()
    finally:
        terminal.stop()
        pop.stop()


def test_a_client_that_has_died_holds_no_drain_up(tmp_path):
    pop = PoP(tmp_path, "limits:\n  drainTimeout: 60s\n").start()
    directory = tmp_path / "client"
    directory.mkdir()
    terminal = Terminal(directory, profile_for(pop)).login(pop).start()
    try:
        terminal.say("connect")
        terminal.output.wait_for("Connected to test1")
        terminal.process.kill()
        pop.process.terminate()
        assert pop.process.wait(10) == 0, pop.log.text
    finally:
        terminal.stop()
        pop.stop()
