"""A BGP speaker that says exactly what a test has it say, and remembers what it hears; in a namespace as the routers are."""

import contextlib
import ipaddress
import socket
import struct
import threading
import time

from namespaces import inside
from routers import Router

from conftest import wait_until

KEEPALIVE = b"\xff" * 16 + b"\0\x13\x04"
END_OF_RIB = b"\xff" * 16 + b"\0\x17\x02" + bytes(4)
IPV4, IPV6 = (1, 1), (2, 1)


def message(kind, body):
    return b"\xff" * 16 + struct.pack(">HB", 19 + len(body), kind) + body


def nlri(prefix):
    network = ipaddress.ip_network(prefix)
    return bytes([network.prefixlen]) + network.network_address.packed[: (network.prefixlen + 7) // 8]


def update(prefixes, hop, path, withdrawn=(), community=None, local_preference=None):
    """An UPDATE of IPv4 routes."""
    attributes = b"\x40\1\1\0"
    segment = struct.pack(">BB", 2, len(path)) + struct.pack(f">{len(path)}I", *path) if path else b""
    attributes += struct.pack(">BBB", 0x40, 2, len(segment)) + segment
    attributes += b"\x40\3\4" + ipaddress.ip_address(hop).packed
    if local_preference is not None:
        attributes += b"\x40\5\4" + struct.pack(">I", local_preference)
    if community is not None:
        attributes += b"\xc0\x08\4" + struct.pack(">I", community)
    gone = b"".join(map(nlri, withdrawn))
    attributes = attributes if prefixes else b""
    body = struct.pack(">H", len(gone)) + gone + struct.pack(">H", len(attributes)) + attributes
    return message(2, body + b"".join(map(nlri, prefixes)))


class Speaker(Router):
    program = "ip"

    def __init__(self, lab, number=None):
        super().__init__(lab, number)
        self.socket = None
        self.forget()

    def forget(self):
        """What was heard."""
        self.messages = []

    def connect(self, families=(IPV4,), restart=None, reads=True, hold=9, extra=b"", buffer=None, patience=20):
        """An established session. `restart` are the flags and the time of graceful restart, such as 0x8078: restarted, 120 s."""
        capabilities = b"".join(struct.pack(">BBHBB", 1, 4, afi, 0, safi) for afi, safi in families)
        capabilities += struct.pack(">BBI", 65, 4, self.number) + extra
        if restart is not None:
            kept = b"".join(struct.pack(">HBB", afi, safi, 0x80) for afi, safi in families)
            capabilities += struct.pack(">BBH", 64, 2 + len(kept), restart) + kept
        body = struct.pack(">BHH", 4, self.number, hold) + ipaddress.ip_address(self.address).packed
        body += struct.pack(">BBB", len(capabilities) + 2, 2, len(capabilities)) + capabilities
        # While the PoP holds the session in Idle it takes nobody.
        heard = wait_until(lambda: self._open(message(1, body), buffer), patience, "the session")
        self.forget()
        self.send(KEEPALIVE)
        threading.Thread(target=self._keep, args=(self.socket, hold), daemon=True).start()
        if reads:
            threading.Thread(target=self._read, args=(self.socket, heard), daemon=True).start()
        return self

    def _open(self, octets, buffer):
        """What came until the first KEEPALIVE."""
        self.close()
        with inside(self.space):
            self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.bind((self.address, 0))
        self.socket.settimeout(10)
        heard = b""
        try:
            self.socket.connect((self.pop_address, 179))
            self.send(octets)
            while KEEPALIVE not in heard:
                piece = self.socket.recv(65536)
                if not piece:
                    return None
                heard += piece
        except OSError:
            return None
        return heard

    def send(self, octets):
        self.socket.sendall(octets)

    def _keep(self, own, hold):
        while own is self.socket and hold:
            time.sleep(hold / 3)
            with contextlib.suppress(OSError):
                own.sendall(KEEPALIVE)

    def _read(self, own, buffered):
        own.settimeout(None)
        while True:
            while len(buffered) >= 19 and len(buffered) >= (length := int.from_bytes(buffered[16:18], "big")):
                self.messages.append((time.monotonic(), buffered[18], buffered[19:length]))
                buffered = buffered[length:]
            try:
                piece = own.recv(1 << 20)
            except OSError:
                return
            if not piece:
                self.messages.append((time.monotonic(), None, b""))
                return
            buffered += piece

    def close(self):
        """Without a word."""
        if self.socket:
            own, self.socket = self.socket, None
            with contextlib.suppress(OSError):
                own.shutdown(socket.SHUT_RDWR)
            own.close()

    stop = kill = close

    # What was heard.

    def updates(self):
        """(announced, withdrawn, whether it is an End-of-RIB and of which family) of each."""
        found = []
        for _, kind, body in list(self.messages):
            if kind != 2:
                continue
            gone = int.from_bytes(body[:2], "big")
            length = int.from_bytes(body[2 + gone : 4 + gone], "big")
            attributes = body[4 + gone : 4 + gone + length]
            end = IPV4 if body == bytes(4) else None
            if attributes[:3] == b"\x80\x0f\x03" and length == 6:
                end = (int.from_bytes(attributes[3:5], "big"), attributes[5])
            found.append((prefixes(body[4 + gone + length :]), prefixes(body[2 : 2 + gone]), end))
        return found

    def announced(self):
        """What of it holds now."""
        now = set()
        for added, gone, _ in self.updates():
            now -= set(gone)
            now |= set(added)
        return now

    def ends(self):
        return [end for _, _, end in self.updates() if end]

    def wait_for_end(self, timeout=15):
        wait_until(self.ends, timeout, "the End-of-RIB")


def prefixes(octets):
    found = []
    while octets:
        length = octets[0]
        count = (length + 7) // 8
        address = ipaddress.IPv4Address(octets[1 : 1 + count].ljust(4, b"\0"))
        found.append(f"{address}/{length}")
        octets = octets[1 + count :]
    return found
