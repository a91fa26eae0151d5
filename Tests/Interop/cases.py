"""The interop runner's cases, each run with cbquic at one end, a peer at the other, and a link between.

A case is passed when every file arrived intact and what the case is about was seen to happen.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from link import V1, V2, Conditions, Link

ROOT = Path(__file__).resolve().parents[2]
CBQUIC = Path(os.environ.get("CBR_TEST_BIN", ROOT / ".build" / "debug")) / "cbquic"
HERE = Path(__file__).resolve().parent
PEERS = {
    "aioquic": [sys.executable, str(HERE / "peer_aioquic.py")],
    # aiopquic needs a newer Python than Debian's: scripts/prerequisites makes this where there is one.
    "picoquic": [str(ROOT / ".venv-picoquic" / "bin" / "python"), str(HERE / "peer_picoquic.py")],
    "ngtcp2": [sys.executable, str(HERE / "peer_ngtcp2.py")],
}
# What is run instead, of a peer in a role, for a case.
PROGRAMS = {
    ("ngtcp2", "server", "v2-first"): [PEERS["picoquic"][0], str(HERE / "peer_ngtcp2_v2.py")],
}


def missing(cell):
    """Why a cell cannot be run here, or None. A cell is a peer, its role and the case."""
    peer = cell[0]
    if cell in PROGRAMS and not Path(PROGRAMS[cell][0]).exists():
        return "webtransport-py is missing: it needs Python 3.12 or later"
    if peer == "ngtcp2" and not shutil.which("gtlsclient"):
        return "ngtcp2 is missing: Debian's packages ngtcp2-client and ngtcp2-server have it"
    if peer == "picoquic" and not Path(PEERS[peer][0]).exists():
        return "picoquic is missing: aiopquic needs Python 3.12 or later"
    return None


KB, MB = 1 << 10, 1 << 20
NAME = "interop.test"


@dataclass
class Outcome:
    """What is known after a run: cbquic's lines of JSON, and the link's counts."""

    ours: list
    seen: object


@dataclass
class Case:
    files: list
    link: Conditions = field(default_factory=Conditions)
    connections: str = "one"
    both: list = field(default_factory=list)  # switches of both ends
    client: list = field(default_factory=list)
    server: list = field(default_factory=list)
    peer: list = field(default_factory=list)  # the peer's, whichever end it is
    check: Callable[[Outcome], str | None] = lambda outcome: None  # what was missing
    timeout: int = 60
    big_certificate: bool = False


def need(condition, what):
    return None if condition else what


def all_ours(key, value):
    return lambda o: need(o.ours and all(value in str(line[key]) for line in o.ours), f"{key} was not {value}")


def second(o, key, value):
    """Of the second connection, where ours tells."""
    seen = [line[key] for line in o.ours]
    return need(len(seen) == 2 and seen[1] == value, f"the second connection's {key} was not {value}: {seen}")


def zero_rtt(o):
    return second(o, "earlyData", "accepted") or need(o.seen.count("0rtt"), "no 0-RTT packet passed")


def rebinding(o):
    return need(o.seen.rebinds > 0, "it was over before the first rebinding")


def migrated(o):
    return need(len(o.seen.client_addresses) > 1, "the client stayed where it was") or migrated_by_us(o)


def migrated_by_us(o):
    return need(any(line["migrations"] > 0 for line in o.ours), "cbquic noticed no migration")


def at_preferred_address(o):
    """What goes to and from the server's preferred address does not pass the link."""
    return migrated_by_us(o) or need(o.seen.to_client < 500, "the server went on sending from its first address")


def marked(o):
    """Marks go on only as long as the other end reports them (RFC 9000 section 13.4.2)."""
    for name, marks in (("client", o.seen.ecn_to_server), ("server", o.seen.ecn_to_client)):
        if marks.get(2, 0) * 10 < sum(marks.values()) * 9:
            return f"the {name} stopped marking: {marks}"
    return None


def upgraded(o):
    """The client began in v1, and both ends went on in v2 (RFC 9369 section 4)."""
    handshakes = [o.seen.count("handshake", V2, to_server=way) for way in (True, False)]
    return (
        all_ours("version", "v2")(o)
        or need(o.seen.count("initial", V1, to_server=True), "the client did not begin in v1")
        or need(all(handshakes), "an end sent no Handshake packet of v2")
        or need(o.seen.count("handshake", V1) == 0, "there was a Handshake packet of v1")
    )


def all_in_v2(o):
    return all_ours("version", "v2")(o) or need(
        all(version == V2 for _, _, version in o.seen.packets), "there was a long header of another version"
    )


def began_again(o):
    return (
        need(o.seen.count("negotiation"), "there was no Version Negotiation packet")
        or need(
            o.seen.count("initial", to_server=True) > o.seen.count("initial", V1, to_server=True),
            "the client did not begin in another version",
        )
        or need(o.seen.count("handshake", V1, to_server=True), "the client did not begin again in v1")
    )


CASES = {
    "handshake": Case([KB], check=lambda o: need(o.seen.count("retry") == 0, "a Retry was sent")),
    "transfer": Case([2 * MB, 3 * MB, 5 * MB]),
    "longrtt": Case([KB], Conditions(delay=0.75)),
    "chacha20": Case([MB], peer=["--chacha20"], check=all_ours("cipher", "CHACHA20")),
    "multiplexing": Case([32] * 1999),
    "retry": Case([10 * KB], server=["--retry"], check=lambda o: need(o.seen.count("retry"), "no Retry was sent")),
    "resumption": Case([5 * KB, 10 * KB], connections="two", check=lambda o: second(o, "resumed", True)),
    "zerortt": Case([32] * 40, connections="two", both=["--early"], check=zero_rtt),
    "http3": Case([5 * KB, 10 * KB, 500 * KB], both=["--alpn", "h3"], check=all_ours("alpn", "h3")),
    "blackhole": Case(
        [10 * MB], Conditions(blackhole=(5, 2)), timeout=90, check=lambda o: need(o.seen.lost > 0, "nothing was lost")
    ),
    "keyupdate": Case(
        [3 * MB],
        client=["--key-update", "100"],
        check=lambda o: need(o.ours and o.ours[0]["keyUpdates"] > 0, "no key update"),
    ),
    "ecn": Case([MB], check=marked),
    "amplificationlimit": Case(
        [5 * KB],
        Conditions(drops_to_server=(2, 3, 4, 5, 6, 7)),
        big_certificate=True,
        check=lambda o: need(0 < o.seen.amplification <= 3, f"the server sent {o.seen.amplification:.1f} times as much"),
    ),
    "handshakeloss": Case([KB] * 20, Conditions(loss=0.3), connections="each", timeout=200),
    "transferloss": Case([2 * MB], Conditions(loss=0.02)),
    "handshakecorruption": Case([KB] * 20, Conditions(corruption=0.3), connections="each", timeout=200),
    "transfercorruption": Case([2 * MB], Conditions(corruption=0.02)),
    "rebind-port": Case([10 * MB], Conditions(rebind="port"), timeout=90, check=rebinding),
    "rebind-addr": Case([10 * MB], Conditions(rebind="address"), timeout=90, check=rebinding),
    "connectionmigration": Case([2 * MB], client=["--migrate", "500000"], check=migrated),
    # What the runner means by connectionmigration now: to the server's preferred address.
    "preferredaddress": Case([5 * MB], server=["--preferred", "127.0.0.3"], check=at_preferred_address),
    "v2": Case([KB], both=["--versions", "v2,v1"], check=upgraded),
    # Not of the runner: RFC 9369 from the first packet on; RFC 9000 section 6 with RFC 9368 section 2.1.
    "v2-first": Case([KB], both=["--versions", "v2,v1"], client=["--initial-version", "v2"], check=all_in_v2),
    "versionnegotiation": Case(
        [KB],
        client=["--versions", "v2,v1", "--initial-version", "v2"],
        server=["--versions", "v1"],
        check=began_again,
    ),
}
QUICK = ["handshake", "chacha20", "multiplexing", "retry", "resumption", "zerortt", "keyupdate", "ecn", "transferloss"]
QUICK += ["http3", "v2", "v2-first", "versionnegotiation"]

NO_ECN = "aioquic neither sets ECN marks nor reports them (RFC 9000 §13.4.1 allows that)"
NO_V2 = (
    "Debian's ngtcp2 0.12.1 is older than RFC 9369 and speaks only a draft of version 2, 0x709a50c4; "
    "ngtcp2 1.19 in webtransport-py can neither begin in version 2 nor change to it"
)
# Peer and its role, with a case that it cannot take part in.
NOT_APPLICABLE = {
    ("aioquic", "client", "ecn"): NO_ECN,
    ("aioquic", "server", "ecn"): NO_ECN,
    ("aioquic", "server", "preferredaddress"): "aioquic's server has no way to give one",
    ("picoquic", "server", "preferredaddress"): "aiopquic's server has no way to give one",
    ("ngtcp2", "client", "v2"): NO_V2,
    ("ngtcp2", "server", "v2"): NO_V2,
    ("ngtcp2", "client", "v2-first"): NO_V2,
    ("picoquic", "client", "v2-first"): "aiopquic's client always begins in version 1",
    ("picoquic", "client", "versionnegotiation"): "aiopquic does not begin again, which picoquic leaves to it",
    ("picoquic", "server", "versionnegotiation"): "picoquic speaks both versions and cannot be told to leave one out",
}
# Cells that are run all the same, and cannot be green for what the peer does.
FAULTS_OF_PEERS = {
    ("picoquic", "client", "v2"): (
        "picoquic acknowledges the server's first packet of version 2 without having decrypted it (its "
        "picoquic_parse_header_and_decrypt changes the version and leaves the packet as it is), so that the ServerHello "
        "in it is not sent again; RFC 9000 §13.1 forbids that"
    ),
}


def certificate(directory, big):
    """A self-signed one; a big one has so many names that a server may not send it all at once."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    names = [NAME] + [f"{i:03d}.a-rather-long-name-to-fill-the-certificate.test" for i in range(250 if big else 0)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3"]
        + ["-subj", f"/CN={NAME}", "-addext", "subjectAltName=" + ",".join(f"DNS:{n}" for n in names)]
        + ["-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    return cert, key


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def run(name, role, peer):
    """Runs a case with cbquic as `role` against `peer`; returns None when it passed, or what was wrong."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        source, target = folder / "source", folder / "target"
        source.mkdir(), target.mkdir()
        names = []
        for index, size in enumerate(case.files):
            names.append(f"f{index}")
            (source / names[-1]).write_bytes(os.urandom(size))
        cert, key = certificate(folder, case.big_certificate)
        other = "server" if role == "client" else "client"
        client, server = [str(CBQUIC)], PROGRAMS.get((peer, other, name), PEERS[peer])
        if role == "server":
            client, server = server, client
        client_switches, server_switches = case.both + case.client, case.both + case.server
        if PEERS["ngtcp2"] in (client, server):
            client_switches, server_switches = ["--alpn", "h3", *client_switches], ["--alpn", "h3", *server_switches]
        (server_switches if role == "client" else client_switches).extend(case.peer)
        port = free_port()
        if "--preferred" in server_switches:
            server_switches[server_switches.index("--preferred") + 1] += f":{port}"
        serving = subprocess.Popen(
            [*server, "serve", f"127.0.0.1:{port}"]
            + ["--cert", cert, "--key", key, "--dir", source, *server_switches],
            stdout=subprocess.PIPE,
            stderr=open(folder / "server.err", "wb"),
            text=True,
        )
        try:
            port = int(serving.stdout.readline().rsplit(":", 1)[-1])
            with Link(("127.0.0.1", port), case.link) as link:
                try:
                    got = subprocess.run(
                        [*client, "get", f"127.0.0.1:{link.port}", "--ca", cert, "--name", NAME, "--dir", target]
                        + ["--connections", case.connections, "--timeout", str(case.timeout)]
                        + [*client_switches, *names],
                        capture_output=True,
                        text=True,
                        timeout=case.timeout + 30,
                    )
                except subprocess.TimeoutExpired:
                    return f"not over in {case.timeout + 30} s; the link saw {link.seen}"
        finally:
            # The client's CONNECTION_CLOSE has just arrived; a server says what it saw when it has read that.
            time.sleep(0.2)
            serving.terminate()
            served = serving.stdout.read()
            serving.wait()
        ours = got.stdout if role == "client" else served
        if got.returncode != 0:
            errors = (got.stderr + (folder / "server.err").read_text()).strip().splitlines()
            return f"the client failed: {(errors or [''])[-1]} {lines(ours)} {link.seen}"
        for file in names:
            if not (target / file).exists() or (target / file).read_bytes() != (source / file).read_bytes():
                return f"{file} did not arrive intact"
        return case.check(Outcome(lines(ours), link.seen))


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
