"""A client whose network changes under its tunnels, in network namespaces with two links to the PoP."""

import os
import re
import secrets
import shutil
import subprocess
import threading
import time

import pytest
import socks
from namespaces import inside

from conftest import EchoServers, PoP, Terminal, profile_for, wait_until


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class TwoLinks:
    """A client that reaches 10.9.0.1, the PoP, over link 1 while that is up, else over link 2."""

    def __init__(self):
        mark = secrets.token_hex(4)
        self.pop, self.client = f"cbr-pop-{mark}", f"cbr-client-{mark}"

    def make(self):
        for name in (self.pop, self.client):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", self.pop, "address", "add", "10.9.0.1/32", "dev", "lo")
        for link in (1, 2):
            ip("-n", self.client, "link", "add", f"c{link}", "type", "veth", "peer", f"p{link}", "netns", self.pop)
            ip("-n", self.client, "address", "add", f"10.9.{link}.2/24", "dev", f"c{link}")
            ip("-n", self.pop, "address", "add", f"10.9.{link}.1/24", "dev", f"p{link}")
            ip("-n", self.pop, "link", "set", f"p{link}", "up")

    def remove(self):
        for name in (self.pop, self.client):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)

    def up(self, link):
        ip("-n", self.client, "link", "set", f"c{link}", "up")
        self.route(link)

    def route(self, link):
        ip("-n", self.client, "route", "add", "10.9.0.1", "via", f"10.9.{link}.1", "metric", str(link * 10))

    def down(self, link):
        ip("-n", self.client, "link", "set", f"c{link}", "down")

    def narrow(self, link, mtu):
        ip("-n", self.client, "link", "set", f"c{link}", "mtu", str(mtu))

    def renumber(self, link, old, new):
        """As when a network gives its machine another address."""
        ip("-n", self.client, "address", "delete", f"10.9.{link}.{old}/24", "dev", f"c{link}")
        ip("-n", self.client, "address", "add", f"10.9.{link}.{new}/24", "dev", f"c{link}")
        self.route(link)

    def answers(self, link, whether):
        """What leaves over the link arrives, but nothing comes back, when it does not answer."""
        ip("-n", self.pop, "route", "delete" if whether else "add", "blackhole", f"10.9.{link}.2")


@pytest.fixture
def links():
    if os.geteuid() != 0:
        pytest.skip("not root: network namespaces cannot be made")
    if not shutil.which("ip"):
        pytest.skip("ip (iproute2) is not installed: network namespaces cannot be made")
    links = TwoLinks()
    try:
        try:
            links.make()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this kernel makes no such links: {error.stderr}")
        yield links
    finally:
        links.remove()


class Stream:
    """Numbered bytes through one tunnel and back, all the time."""

    def __init__(self, connection):
        self.connection, self.back, self.longest, self.error = connection, 0, 0.0, None
        self.ending = threading.Event()
        self.sent = 0
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def _bytes(offset, count):
        return bytes((offset + index) * 7 >> 3 & 0xFF for index in range(count))

    def _send(self):
        try:
            while not self.ending.is_set():
                self.connection.sendall(self._bytes(self.sent, 4_000))
                self.sent += 4_000
                time.sleep(0.005)
            self.connection.shutdown(1)
        except OSError as error:
            self.error = error

    def _receive(self):
        last = time.monotonic()
        try:
            while piece := self.connection.recv(65536):
                assert piece == self._bytes(self.back, len(piece)), f"other bytes than were sent after {self.back}"
                self.back += len(piece)
                now = time.monotonic()
                self.longest, last = max(self.longest, now - last), now
        except (OSError, AssertionError) as error:
            self.error = error

    def end(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(30)
        assert self.error is None, self.error
        assert self.back == self.sent > 0


class Journey:
    """A terminal in the client's namespace, connected to a PoP in the other, with one tunnel that is never silent."""

    def __init__(self, links, directory):
        self.links = links
        with inside(links.pop):
            self.pop = PoP(directory, listen="10.9.0.1").start()
            self.echo = EchoServers()
            home = directory / "client"
            home.mkdir()
            profile = profile_for(self.pop).replace(
                "  domain: cloudbridge.test",
                f"  addresses: ['10.9.0.1:{self.pop.quic_port}']\n  serverName: cloudbridge.test",
            )
            self.terminal = Terminal(home, profile).login(self.pop)

    def __enter__(self):
        with inside(self.links.client):
            self.terminal.start()
            self.terminal.say("connect")
            self.terminal.output.wait_for("Connected to test1")
            tunnel = socks.socksocket()
            tunnel.set_proxy(socks.SOCKS5, "127.0.0.1", self.terminal.socks_port)
            tunnel.settimeout(30)
            tunnel.connect(("127.0.0.1", self.echo.tcp_port))
        self.stream = Stream(tunnel)
        self.flows()
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.stream.end()
                assert "connection lost" not in self.terminal.output.text
                # One connection all along.
                self.pop.stop()
                assert "accepted=1 " in self.pop.log.text
        finally:
            self.terminal.stop()
            self.pop.stop()
            self.echo.close()

    def flows(self, amount=200_000):
        goal = self.stream.back + amount
        wait_until(lambda: self.stream.back >= goal or self.stream.error, timeout=20, what=f"{amount} bytes")
        assert self.stream.error is None, self.stream.error

    def mark(self):
        return len(self.terminal.output.text)

    def moved(self, old, new, mark):
        """Waits for the terminal to say so."""
        words = rf"the network has changed: at {re.escape(new)} now \(before: {re.escape(old)}\), tunnels go on"
        self.terminal.output.wait_for(words, start=mark)

    def number(self, name):
        mark = self.mark()
        self.terminal.say("status --json")
        return int(self.terminal.output.wait_for(rf'"{name}"\s*:\s*(\d+)', start=mark).group(1))

    def status(self, address, moves):
        mark = self.mark()
        self.terminal.say("status --json")
        text = self.terminal.output.wait_for(r'"migrations"\s*:\s*\d+[^}]*', start=mark).group()
        found = self.terminal.output.text[mark:]
        assert re.search(r'"localAddress"\s*:\s*"%s:' % re.escape(address), found), found
        assert int(re.search(r'"migrations"\s*:\s*(\d+)', found).group(1)) == moves, text

    def silence(self, limit, what):
        longest, self.stream.longest = self.stream.longest, 0.0
        print(f"{what}: {self.stream.back} bytes so far, none missing; the longest silence was {longest:.2f} s")
        assert longest < limit


def test_a_tunnel_moves_with_its_client(links, tmp_path):
    links.up(1)
    links.up(2)
    with Journey(links, tmp_path) as journey:
        journey.status("10.9.1.2", 0)
        mark = journey.mark()
        links.down(1)
        journey.moved("10.9.1.2", "10.9.2.2", mark)
        journey.flows()
        journey.status("10.9.2.2", 1)
        journey.silence(2, "a link that is gone")
        # And back: the better route is there again while the other still is.
        mark = journey.mark()
        links.up(1)
        journey.moved("10.9.2.2", "10.9.1.2", mark)
        links.down(2)
        journey.flows()
        journey.status("10.9.1.2", 2)
        journey.silence(1, "a better link")
        mark = journey.mark()
        links.renumber(1, 2, 3)
        journey.moved("10.9.1.2", "10.9.1.3", mark)
        journey.flows()
        journey.status("10.9.1.3", 3)
        journey.silence(2, "another address")
        journey.terminal.say("status")
        journey.terminal.output.wait_for(r"10\.9\.1\.3:\d+, moved 3 times")


def test_a_better_network_that_does_not_work_is_not_taken(links, tmp_path):
    links.up(2)
    links.answers(1, False)
    with Journey(links, tmp_path) as journey:
        journey.silence(2, "before")
        mark = journey.mark()
        # Its route is the better one: whatever is not held leaves over it, and nothing comes back.
        links.up(1)
        time.sleep(4)
        journey.flows()
        journey.status("10.9.2.2", 0)
        journey.silence(1, "a better link that answers nothing")
        links.answers(1, True)
        links.down(2)
        journey.moved("10.9.2.2", "10.9.1.2", mark)
        journey.flows()
        journey.status("10.9.1.2", 1)
        journey.silence(2, "the old link gone")


def test_a_tunnel_outlives_the_want_of_any_network(links, tmp_path):
    links.up(1)
    with Journey(links, tmp_path) as journey:
        journey.stream.longest = 0.0
        links.down(1)
        time.sleep(5)
        journey.terminal.say("status")
        journey.terminal.output.wait_for("no network at present: tunnels wait")
        links.up(1)
        journey.flows()
        journey.status("10.9.1.2", 0)
        # The tunnel does not wait for its next probe time-out, which is seconds away by then.
        journey.silence(6, "five seconds without a network")


def test_a_narrow_link_is_found_at_once(links, tmp_path):
    """The client's own kernel refuses what is longer than its link takes: no probe need be lost for it."""
    links.narrow(1, 1320)
    links.up(1)
    with Journey(links, tmp_path) as journey:
        # IPv4 and UDP headers are 28 bytes; the search ends within 16.
        assert 1320 - 28 - 16 <= journey.number("mtuBytes") <= 1320 - 28
        journey.stream.longest = 0.0
        links.narrow(1, 1260)
        journey.flows()
        assert 1200 <= journey.number("mtuBytes") <= 1260 - 28
        journey.silence(2, "a link that became narrower")
