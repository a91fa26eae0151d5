"""A UDP link between two peers: delay, rate, queue, loss, damage, black holes and rebinding, all from one seed.

The client talks to the link's port; each of its addresses has a socket of its own towards the server. Run in a thread;
what passed is counted in `seen`. ECN marks are carried over. Its conditions are near those of the QUIC interop runner.
"""

import heapq
import queue
import random
import select
import socket
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field


@dataclass
class Conditions:
    delay: float = 0.015  # seconds, one way
    rate: float = 10e6  # bits per second, each way
    queue: int = 25  # datagrams waiting for the rate, each way
    loss: float = 0  # share of datagrams, each way
    corruption: float = 0  # share of datagrams with one bit flipped
    burst: int = 3  # never more lost or damaged in a row than this
    drops_to_server: tuple = ()  # these datagrams of the client, counted from 1
    blackhole: tuple | None = None  # (seconds that work, seconds that do not), in turns
    rebind: str | None = None  # "port" or "address", seen by the server
    rebind_after: float = 1  # seconds
    rebind_every: float = 5
    seed: int = 1


V1, V2 = 0x00000001, 0x6B3343CF


@dataclass
class Seen:
    to_server: int = 0
    to_client: int = 0
    lost: int = 0
    overflowed: int = 0  # a queue or a socket had no room
    damaged: int = 0
    rebinds: int = 0
    # Long-header packets before any was lost: (True to the server, type, version) of each.
    packets: Counter = field(default_factory=Counter)
    client_addresses: set = field(default_factory=set)
    ecn_to_server: dict = field(default_factory=dict)
    ecn_to_client: dict = field(default_factory=dict)
    # Most that the server sent for each byte that reached it, while less than two datagrams had.
    amplification: float = 0

    def count(self, kind, version=None, to_server=None):
        """Packets of a type ("initial", "0rtt", "handshake", "retry", "negotiation"), of one version or direction."""
        return sum(
            number
            for (way, its_kind, its_version), number in self.packets.items()
            if its_kind == kind and version in (None, its_version) and to_server in (None, way)
        )


def varint(data, at):
    size = 1 << (data[at] >> 6)
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def long_packets(data):
    """The types of a datagram's long-header packets (RFC 9000 section 17.2), with their version."""
    at = 0
    try:
        while at < len(data) and data[at] & 0x80:
            version = int.from_bytes(data[at + 1 : at + 5], "big")
            if version == 0:
                yield "negotiation", version
                return
            kind = (data[at] >> 4) & 3
            if version == V2:  # RFC 9369 section 3.2
                kind = (kind - 1) % 4
            yield ("initial", "0rtt", "handshake", "retry")[kind], version
            if kind == 3:
                return
            at += 5
            at += 1 + data[at]
            at += 1 + data[at]
            if kind == 0:
                size, at = varint(data, at)
                at += size
            size, at = varint(data, at)
            at += size
    except IndexError:
        return


class Direction:
    def __init__(self):
        self.departures = deque()  # of those that wait for the rate
        self.in_a_row = 0
        self.count = 0


class Link:
    def __init__(self, server, conditions):
        self.server = server
        self.conditions = conditions
        self.seen = Seen()
        self.random = random.Random(conditions.seed)
        self.front = self._socket("127.0.0.1")
        self.port = self.front.getsockname()[1]
        self.paths = {}  # client's address -> socket to the server
        self.clients = {}  # that socket -> client's address
        self.heap = []
        self.number = 0
        self.forth, self.back = Direction(), Direction()
        self.bytes_to_server = self.bytes_from_server = self.delivered = 0
        self.start = None
        self.wanted = queue.SimpleQueue()  # addresses to rebind to, as other threads ask
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def open(self):
        self.thread.start()
        return self

    def __enter__(self):
        return self.open()

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stopped.set()
        self.thread.join()
        for s in [self.front, *self.clients]:
            s.close()

    def rebind(self, address="127.0.0.1"):
        """The client seems to come from another port, and with `address` from another address."""
        self.wanted.put(address)

    @staticmethod
    def _socket(ip):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((ip, 0))
        s.setblocking(False)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        return s

    def _run(self):
        next_rebind = None
        # What is on its way when the link is closed still arrives.
        while not self.stopped.is_set() or self.heap:
            now = time.monotonic()
            if self.start is not None and self.conditions.rebind:
                next_rebind = next_rebind or self.start + self.conditions.rebind_after
                if now >= next_rebind:
                    next_rebind += self.conditions.rebind_every
                    port_only = self.conditions.rebind == "port"
                    self._rebind("127.0.0.1" if port_only else f"127.0.0.{11 + self.seen.rebinds}")
            while not self.wanted.empty():
                self._rebind(self.wanted.get())
            while self.heap and self.heap[0][0] <= now:
                self._deliver(*heapq.heappop(self.heap)[2:])
            wait = min(0.05, self.heap[0][0] - now) if self.heap else 0.05
            listening = [] if self.stopped.is_set() else [self.front, *self.clients]
            for s in select.select(listening, [], [], max(wait, 0))[0]:
                self._drain(s)

    def _rebind(self, address):
        for client, old in list(self.paths.items()):
            self.seen.rebinds += 1
            fresh = self._socket(address)
            self.paths[client] = fresh
            self.clients[fresh] = client
            # What is still on its way to the old address is lost, as with a NAT that forgot it.
            del self.clients[old]
            old.close()

    def _drain(self, s):
        while True:
            try:
                data, control, _, address = s.recvmsg(65536, 64)
            except OSError:  # nothing more, or the other end's port is closed
                return
            ecn = control[0][2][0] & 3 if control else 0
            now = time.monotonic()
            if s is self.front:
                self.start = self.start or now
                self.seen.client_addresses.add(address)
                if address not in self.paths:
                    self.paths[address] = self._socket("127.0.0.1")
                    self.clients[self.paths[address]] = address
                self._pass(self.forth, True, address, data, ecn, now)
            elif s in self.clients:
                self._pass(self.back, False, self.clients[s], data, ecn, now)

    def _pass(self, way, to_server, client, data, ecn, now):
        c, seen = self.conditions, self.seen
        way.count += 1
        if not to_server:
            self.bytes_from_server += len(data)
            if self.delivered < 2 and self.bytes_to_server:
                seen.amplification = max(seen.amplification, self.bytes_from_server / self.bytes_to_server)
        seen.packets.update((to_server, kind, version) for kind, version in long_packets(data))
        if to_server and way.count in c.drops_to_server:
            seen.lost += 1
            return
        if c.blackhole and (now - self.start) % sum(c.blackhole) >= c.blackhole[0]:
            seen.lost += 1
            return
        dice = self.random.random()
        if dice < c.loss + c.corruption and way.in_a_row < c.burst:
            way.in_a_row += 1
            if dice < c.loss:
                seen.lost += 1
                return
            seen.damaged += 1
            damaged = bytearray(data)
            damaged[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
            data = bytes(damaged)
        else:
            way.in_a_row = 0
        while way.departures and way.departures[0] <= now:
            way.departures.popleft()
        if len(way.departures) > c.queue:
            seen.overflowed += 1
            return
        departure = (way.departures[-1] if way.departures else now) + len(data) * 8 / c.rate
        way.departures.append(departure)
        self.number += 1
        heapq.heappush(self.heap, (departure + c.delay, self.number, to_server, client, data, ecn))

    def _deliver(self, to_server, client, data, ecn):
        out = self.paths[client] if to_server else self.front
        marks = self.seen.ecn_to_server if to_server else self.seen.ecn_to_client
        marks[ecn] = marks.get(ecn, 0) + 1
        if to_server:
            self.seen.to_server += 1
            self.delivered += 1
            self.bytes_to_server += len(data)
        else:
            self.seen.to_client += 1
        try:
            out.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, ecn)
            out.sendto(data, self.server if to_server else client)
        except OSError:
            self.seen.overflowed += 1
