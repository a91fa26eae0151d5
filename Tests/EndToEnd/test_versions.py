"""Version Negotiation, genuine and forged (RFC 9368)."""

import socket
import struct
import threading

from conftest import PoP, Terminal, profile_for

V1, V2, UNKNOWN = 0x00000001, 0x6B3343CF, 0x51303530


class Negotiator:
    """Between a client and a PoP: answers each first packet of a version with Version Negotiation, and passes the rest."""

    def __init__(self, server_port, answers, offers):
        self.inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inside.bind(("127.0.0.1", 0))
        self.outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outside.connect(("127.0.0.1", server_port))
        self.port = self.inside.getsockname()[1]
        self.answers, self.offers, self.answered, self.client = answers, offers, 0, None
        for work in (self._from_client, self._from_server):
            threading.Thread(target=work, daemon=True).start()

    def _from_client(self):
        while True:
            data, self.client = self.inside.recvfrom(65536)
            if data[0] & 0x80 and struct.unpack_from("!I", data, 1)[0] in self.answers:
                destination = data[6 : 6 + data[5]]
                rest = data[6 + data[5] :]
                source = rest[1 : 1 + rest[0]]
                answer = b"\xc0\0\0\0\0" + bytes([len(source)]) + source + bytes([len(destination)]) + destination
                self.inside.sendto(answer + b"".join(struct.pack("!I", v) for v in self.offers), self.client)
                self.answered += 1
            else:
                self._try(self.outside.send, data)

    def _from_server(self):
        while True:
            try:
                data = self.outside.recv(65536)
            except OSError:
                continue
            self._try(self.inside.sendto, data, self.client)

    @staticmethod
    def _try(call, *arguments):
        try:
            call(*arguments)
        except OSError:
            pass


def connect(pop, tmp_path, port):
    directory = tmp_path / "client"
    directory.mkdir()
    profile = profile_for(pop).replace(
        "  domain: cloudbridge.test", f"  addresses: ['127.0.0.1:{port}']\n  serverName: cloudbridge.test"
    )
    terminal = Terminal(directory, profile).login(pop)
    return terminal.run("-c", "connect; ping")


def test_a_client_begins_again_with_a_version_that_the_pop_speaks(tmp_path):
    pop = PoP(tmp_path, "transport:\n  versions: [v2]\n").start()
    try:
        result = connect(pop, tmp_path, pop.quic_port)
        assert result.returncode == 0, result.stderr
        assert "Connected to test1" in result.stdout
    finally:
        pop.stop()


def test_a_pop_of_other_versions_is_told_as_such(pop, tmp_path):
    negotiator = Negotiator(pop.quic_port, answers={V1, V2}, offers=[0x1A2A3A4A, UNKNOWN])
    result = connect(pop, tmp_path, negotiator.port)
    assert result.returncode == 4, result.stderr
    assert "the PoP speaks QUIC 0x51303530, this client v1, v2" in result.stderr


def test_a_forged_negotiation_is_noticed(pop, tmp_path):
    """RFC 9368 §4: the PoP's own list says that it would have spoken the version that the client began with."""
    negotiator = Negotiator(pop.quic_port, answers={V1}, offers=[V2])
    result = connect(pop, tmp_path, negotiator.port)
    assert result.returncode == 4, result.stdout
    assert "downgrade" in result.stderr
    assert negotiator.answered >= 1


def test_a_client_follows_once(pop, tmp_path):
    negotiator = Negotiator(pop.quic_port, answers={V1, V2}, offers=[V2])
    result = connect(pop, tmp_path, negotiator.port)
    assert result.returncode == 4, result.stdout
    # The second answer offers what was chosen: it is discarded (RFC 9000 §6.2), and nobody else answers.
    assert "no answer" in result.stderr or "no handshake" in result.stderr
