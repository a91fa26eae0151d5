"""A seeded UDP path between a client and a server: delay, rate, loss, corruption, blackouts, and a NAT that rebinds.

The cases' conditions are those of the QUIC interop runner, which is how stacks are compared elsewhere.
"""

import asyncio
import random
import socket
import threading
from dataclasses import dataclass, field


@dataclass
class Conditions:
    delay: float = 0.0
    """Seconds each way."""
    rate: float = 0.0
    """Bits per second each way; 0 is unlimited."""
    queue: int = 25
    """Datagrams that wait at the bottleneck; more are dropped."""
    loss: float = 0.0
    """Of all datagrams, in each direction."""
    corruption: float = 0.0
    blackout: tuple = (0.0, 0.0)
    """Seconds that it works, then seconds that nothing passes, over and over."""


@dataclass
class Counts:
    datagrams: int = 0
    bytes: int = 0
    lost: int = 0
    corrupted: int = 0
    overflowed: int = 0
    versions: set = field(default_factory=set)
    types: list = field(default_factory=list)
    """Long header types as they passed, `short` for the others."""


def packet_types(datagram, versions):
    """The coalesced packets' types by RFC 9000 section 17.2 (0 Initial, 1 0-RTT, 2 Handshake, 3 Retry), or "short"."""
    types = []
    at = 0
    while at < len(datagram):
        if not datagram[at] & 0x80:
            return types + ["short"]
        versions.add(int.from_bytes(datagram[at + 1 : at + 5], "big"))
        kind = (datagram[at] >> 4) & 3
        types.append(kind)
        at += 5
        try:
            for _ in range(2):
                at += 1 + datagram[at]
            if kind == 3:
                return types
            if kind == 0:
                length, at = varint(datagram, at)
                at += length
            length, at = varint(datagram, at)
            at += length
        except IndexError:
            return types
    return types


def varint(data, at):
    size = 1 << (data[at] >> 6)
    return int.from_bytes(data[at : at + size], "big") & ((1 << (size * 8 - 2)) - 1), at + size


class Direction:
    def __init__(self, conditions, seed):
        self.conditions = conditions
        self.random = random.Random(seed)
        self.counts = Counts()
        self.free_at = 0.0
        self.waiting = 0
        self.began = None

    def pass_on(self, data, send):
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.began = self.began or now
        c, counts = self.conditions, self.counts
        counts.datagrams += 1
        counts.bytes += len(data)
        counts.types += packet_types(data, counts.versions)
        up, down = c.blackout
        if self.random.random() < c.loss or (down and (now - self.began) % (up + down) >= up):
            counts.lost += 1
            return
        if self.random.random() < c.corruption:
            counts.corrupted += 1
            damaged = bytearray(data)
            damaged[self.random.randrange(len(damaged))] ^= 1 << self.random.randrange(8)
            data = bytes(damaged)
        at = now
        if c.rate:
            if self.waiting >= c.queue:
                counts.overflowed += 1
                return
            self.waiting += 1
            self.free_at = max(self.free_at, now) + len(data) * 8 / c.rate
            at = self.free_at
            loop.call_at(at, self._left)
        if at + c.delay > now:
            loop.call_at(at + c.delay, send, data)
        else:
            send(data)

    def _left(self):
        self.waiting -= 1


class Relay:
    """Runs in a thread of its own; `port` is where the client sends."""

    def __init__(self, server_port, conditions=None, seed=1):
        conditions = conditions or Conditions()
        self.server = ("127.0.0.1", server_port)
        self.up = Direction(conditions, seed)
        self.down = Direction(conditions, seed + 1)
        self.client = None
        self.rebindings = 0
        self.mute_client = False
        """Swallow what the client sends."""
        self.loop = asyncio.new_event_loop()
        self.front = self._socket(("127.0.0.1", 0))
        self.back = self._socket(("127.0.0.1", 0))
        self.port = self.front.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @staticmethod
    def _socket(address):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        s.bind(address)
        s.setblocking(False)
        return s

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.add_reader(self.front, self._from_client)
        self.loop.add_reader(self.back, self._from_server, self.back)
        self.loop.run_forever()

    def _from_client(self):
        for _ in range(64):
            try:
                data, self.client = self.front.recvfrom(65536)
            except OSError:
                return
            if data and not self.mute_client:
                self.up.pass_on(data, self._to_server)

    def _to_server(self, data):
        try:
            self.back.sendto(data, self.server)
        except OSError:
            pass

    def _from_server(self, back):
        for _ in range(64):
            try:
                data = back.recv(65536)
            except OSError:
                return
            # A NAT passes only what comes to its present mapping.
            if data and back is self.back:
                self.down.pass_on(data, self._to_client)

    def _to_client(self, data):
        if self.client:
            try:
                self.front.sendto(data, self.client)
            except OSError:
                pass

    def rebind(self, address="127.0.0.1"):
        """The client seems to come from another port, and with `address` from another address."""

        def change():
            old = self.back
            self.back = self._socket((address, 0))
            self.loop.add_reader(self.back, self._from_server, self.back)
            self.loop.remove_reader(old)
            old.close()
            self.rebindings += 1

        self.loop.call_soon_threadsafe(change)

    def close(self):
        def stop():
            self.loop.stop()

        self.loop.call_soon_threadsafe(stop)
        self.thread.join(5)
        self.front.close()
        self.back.close()
        self.loop.close()
