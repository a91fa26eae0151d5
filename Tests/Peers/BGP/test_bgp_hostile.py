"""The table of hostile messages, bgp_hostile.json, played against BIRD: its answers beside ours.

Tests/BGP/Hostile holds the table, and checks that our core answers as the RFCs want. Here BIRD is asked the same, over TCP,
each message on a session of its own. Every difference must be explained in DIFFERENCES.
CBR_WRITE_HOSTILE=1 writes docs/bgp-hostile.md.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from namespaces import inside

from conftest import ROOT, wait_until

TABLE = json.loads((Path(__file__).parent / "bgp_hostile.json").read_text())
KEEPALIVE = b"\xff" * 16 + b"\0\x13\x04"
PATHS = {"203.0.113.0/24": False, "2001:db8:1::/48": True}

# By a message's name, or by the beginning of several: why BIRD may answer otherwise, or why we do.
DATA = "RFC 4271 §6.2 names no data for it; BIRD adds what it found, or what it should not"
ATTRIBUTE = 'RFC 4271 §6.3, Optional Attribute Error: "The Data field MUST contain the attribute"'
FIRST = "RFC 4271 §6.3 lets a speaker check that the path begins with the peer's AS: ours does, unless told not to; BIRD 2.0.12 cannot"
MULTIPROTOCOL = "RFC 4760 §7: what is wrong within these two is an Optional Attribute Error"
DIFFERENCES = {
    "KEEPALIVE of": "RFC 4271 §6.1: a KEEPALIVE of another length than 19 is a Bad Message Length; BIRD looks for too short ones",
    "version ": "RFC 4271 §6.2: the data is the version that we speak, 4; BIRD's two octets are none",
    "another AS": DATA,
    "AS 0": DATA,
    "AS_TRANS and no capability": DATA,
    "hold time ": DATA,
    "parameter 1,": DATA,
    "parameter 99": DATA,
    "parameters that are not there": "RFC 4271 §6.2: what follows the parameters is part of no field; BIRD does not look there",
    "no family that we speak": "RFC 5492 §5: the data lists the capabilities that are missing; BIRD lists none",
    "NOTIFICATION before the OPEN": "RFC 4271 §8.2.2 has OpenSent answer event 25 as any that it does not expect; BIRD closes",
    "UPDATE before the KEEPALIVE": "RFC 4271 §8.2.2, event 27 in OpenConfirm, RFC 6608 §4; BIRD drops the message and waits",
    "ROUTE-REFRESH of 22": "RFC 7313 §5: its length has an error of its own; BIRD's check of all headers comes first",
    "withdrawn prefix that runs out": "RFC 4271 §6.3 calls a wrong field of prefixes an Invalid Network Field; BIRD calls the list malformed",
    "prefix that runs out": "RFC 4271 §6.3 calls a wrong field of prefixes an Invalid Network Field; BIRD calls the list malformed",
    "a malformed MED and no prefix": "RFC 7606 §5.2 ends the session with the error that there is, here RFC 4271 §6.3's of the length",
    "MP_REACH_NLRI, transitive": "RFC 7606 §3 c: wrong flags are treat-as-withdraw; the prefixes can be read",
    "IPv6 extended communities": "RFC 7606 §7.15; BIRD does not know the attribute and passes it on",
    "AS_PATH with AS 0": "RFC 7607 §2: such a path is malformed; BIRD does not look for it",
    "AS_PATH that is empty": FIRST,
    "AS_PATH that begins": FIRST,
    "an unknown well-known attribute": "RFC 4271 §6.3, which RFC 7606 does not revise here, ends the session; BIRD is milder",
    "IPv6 next hop of 4 octets": "RFC 7606 §7.11: a next hop of a wrong length resets the session; BIRD allows for RFC 8950, not negotiated",
    "IPv6 next hop of": ATTRIBUTE,
    "MP_REACH_NLRI of 3": ATTRIBUTE,
    "MP_REACH_NLRI whose": ATTRIBUTE,
    "MP_REACH_NLRI without": ATTRIBUTE,
    "MP_UNREACH_NLRI of 2": ATTRIBUTE,
    "IPv6 prefix": MULTIPROTOCOL,
    "withdrawn IPv6 prefix": MULTIPROTOCOL,
}


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def message(kind, body):
    return b"\xff" * 16 + (19 + len(body)).to_bytes(2, "big") + bytes([kind]) + body


class Bird:
    """A BIRD at 10.0.0.1 with a peering for each message, and room for the peers at the other end of a link."""

    def __init__(self, directory, cases):
        self.tag = f"cbh{os.getpid() % 100000}"
        self.spaces = [f"{self.tag}-bird", f"{self.tag}-peers"]
        self.control = f"/tmp/{self.tag}.ctl"
        self.process = None
        self.cases = cases
        for space in self.spaces:
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        run("ip", "link", "add", "peers", "netns", self.spaces[0], "type", "veth", "peer", "name", "bird", "netns", self.spaces[1])
        for space, device, host in [(self.spaces[0], "peers", 1), (self.spaces[1], "bird", 2)]:
            run("ip", "-n", space, "addr", "add", f"10.0.0.{host}/16", "dev", device)
            run("ip", "-n", space, "-6", "addr", "add", f"2001:db8::{host}/64", "dev", device, "nodad")
            run("ip", "-n", space, "link", "set", device, "up")
        run("ip", "-n", self.spaces[1], "route", "add", "local", "10.0.1.0/24", "dev", "lo")
        (directory / "bird.conf").write_text(self.configuration())
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.spaces[0], "bird", "-f", "-c", directory / "bird.conf", "-s", self.control],
            stdout=subprocess.DEVNULL, stderr=(directory / "bird.log").open("w"),
        )
        wait_until(lambda: Path(self.control).exists(), what="BIRD's socket")

    def configuration(self):
        lines = ["log stderr all;", "router id 10.0.0.1;", "protocol device {}"]
        for number, case in enumerate(self.cases):
            peering = case["peering"]
            options = {"role": "local role customer; require roles on;", "extended": "enable extended messages on;"}.get(peering, "")
            lines.append(
                f"protocol bgp p{number} {{ local 10.0.0.1 as 64512; neighbor {self.address(number)} as "
                f"{64512 if peering == 'internal' else 65001}; passive; direct; error wait time 1,1; {options} "
                "ipv4 { import all; export none; }; ipv6 { import all; export none; }; }"
            )
        return "\n".join(lines) + "\n"

    @staticmethod
    def address(number):
        return f"10.0.1.{number + 1}"

    def ask(self, question):
        return run("birdc", "-s", self.control, *question.split())

    def connect(self, number):
        with inside(self.spaces[1]):
            peer = socket.socket()
        peer.bind((self.address(number), 0))
        peer.settimeout(10)
        peer.connect(("10.0.0.1", 179))
        return peer

    def paths(self, prefix):
        """The last AS of each peering's route to a prefix."""
        found = {}
        number = None
        for line in self.ask(f"show route all for {prefix}").splitlines():
            if start := re.search(r"\[p(\d+) ", line):
                number = int(start[1])
            elif path := re.search(r"BGP.as_path: ?(.*)", line):
                found[number] = int((re.findall(r"\d+", path[1]) or ["0"])[-1])
        return found

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait(10)
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)
        Path(self.control).unlink(missing_ok=True)


class Peer:
    """One connection, and what has come on it."""

    def __init__(self, sock):
        self.socket = sock
        self.buffer = b""
        self.messages = []
        self.is_closed = False

    def send(self, octets):
        with contextlib.suppress(OSError):
            self.socket.sendall(octets)

    def read(self, seconds):
        """Takes what comes until nothing has come for so long."""
        self.socket.settimeout(seconds)
        try:
            while not self.is_closed:
                piece = self.socket.recv(65536)
                self.is_closed = not piece
                self.buffer += piece
        except TimeoutError:
            pass
        except OSError:
            self.is_closed = True
        while len(self.buffer) >= 19 and len(self.buffer) >= int.from_bytes(self.buffer[16:18], "big"):
            length = int.from_bytes(self.buffer[16:18], "big")
            self.messages.append((self.buffer[18], self.buffer[19:length]))
            self.buffer = self.buffer[length:]

    def wait_for(self, kind):
        end = time.monotonic() + 10
        while not any(one[0] == kind for one in self.messages):
            assert time.monotonic() < end and not self.is_closed, f"no message of type {kind}: {self.messages}"
            self.read(0.02)

    @property
    def notification(self):
        return next((body for kind, body in self.messages if kind == 3), None)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """BIRD's answer to each message."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: network namespaces need root")
    for program in ("bird", "birdc"):
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
            pytest.skip(f"NOT TESTED AGAINST {program}: it is not installed (scripts/prerequisites test)")
    cases = TABLE["messages"]
    assert len(cases) < 250, "an address each"
    bird = Bird(tmp_path_factory.mktemp("hostile"), cases)
    try:
        yield play(bird, cases)
    finally:
        bird.close()


def play(bird, cases):
    wait_until(lambda: bird.ask("show protocols").count("BGP") == len(cases), what="BIRD's peerings")
    peers = []
    for number, case in enumerate(cases):
        peering = TABLE["peerings"][case["peering"]]
        peer = Peer(bird.connect(number))
        peers.append(peer)
        peer.wait_for(1)
        if case["stage"] != "openSent":
            peer.send(bytes.fromhex(peering["open"]))
            peer.wait_for(4)
        if case["stage"] == "established":
            peer.send(KEEPALIVE + b"".join(bytes.fromhex(update) for update in peering["before"]))
    established = {number for number, case in enumerate(cases) if case["stage"] == "established"}
    for prefix in PATHS:
        wait_until(lambda prefix=prefix: set(bird.paths(prefix)) == established, what=f"all routes to {prefix}")
    for peer, case in zip(peers, cases, strict=True):
        peer.messages = []
        peer.send(bytes.fromhex(case["octets"]))
        # Behind it the keepalive of a peer that is content.
        if case["stage"] == "established":
            peer.send(KEEPALIVE)
    time.sleep(1)
    for peer in peers:
        peer.read(0.01)
    paths = {is_ipv6: bird.paths(prefix) for prefix, is_ipv6 in PATHS.items()}
    version = re.search(r"BIRD ([\d.]+)", bird.ask("show status"))[1]
    results = []
    for number, (peer, case) in enumerate(zip(peers, cases, strict=True)):
        if (said := peer.notification) is not None:
            text = f"NOTIFICATION {said[0]}/{said[1]} {said[2:].hex()}".strip()
        elif peer.is_closed:
            text = "closes"
        elif case["stage"] != "established":
            text = "takes" if any(kind == 4 for kind, _ in peer.messages) else "ignores"
        else:
            text = {None: "withdraws", 1: "ignores"}.get(paths[case["ipv6"]].get(number), "takes")
        results.append(text)
    for peer in peers:
        peer.socket.close()
    return version, results


def agrees(ours, theirs):
    # That an attribute was left out is not to be seen in BIRD's table.
    return ours == theirs or (ours, theirs) == ("discards", "takes")


def shown(answer):
    """An answer without what is beyond eight octets of data."""
    words = answer.split()
    return " ".join(words[:2] + [words[2][:16] + ("…" if len(words[2]) > 16 else "")]) if len(words) == 3 else answer


def explanation(name):
    keys = [key for key in DIFFERENCES if name.startswith(key)]
    return DIFFERENCES[max(keys, key=len)] if keys else None


def test_birds_answers_beside_ours(answers):
    version, results = answers
    rows, unexplained = [], []
    for case, theirs in zip(TABLE["messages"], results, strict=True):
        ours = case["answer"]
        why = "" if agrees(ours, theirs) else explanation(case["name"])
        print(f"{case['name']:58} {case['source']:18} {shown(ours):36} {shown(theirs):36} {why}")
        rows.append((case, ours, theirs, why))
        if why is None:
            unexplained.append((case["name"], ours, theirs))
    if os.environ.get("CBR_WRITE_HOSTILE"):
        (ROOT / "docs" / "bgp-hostile.md").write_text(document(version, rows))
    assert not unexplained, "\n".join(map(str, unexplained))


def document(version, rows):
    same = sum(1 for *_, why in rows if not why)
    lines = [
        "# What a BGP peer that means harm gets for an answer",
        "",
        f"{len(rows)} messages, ours and BIRD {version}'s answers; {same} are the same, and each difference has its reason. Made by",
        "`CBR_WRITE_HOSTILE=1 pytest Tests/Peers/BGP/test_bgp_hostile.py` from the table in `Tests/BGP/Hostile`, whose answers are",
        "checked against our core; BIRD's are what it said over TCP.",
        "",
        "A NOTIFICATION is given as code/subcode and data. *withdraws*: the session stays, and the routes of the message count as",
        "withdrawn. *discards*: the routes are taken without the attribute (BIRD's *takes* says the same: its table does not show",
        "what is missing). *takes*: the message counts. *ignores*: nothing comes of it. *closes*: the connection ends without a word.",
        "",
        "| message | after | ours | BIRD | why they differ |",
        "|---|---|---|---|---|",
    ]
    for case, ours, theirs, why in rows:
        lines.append(f"| {case['name']} | {case['source']} | {shown(ours)} | {shown(theirs)} | {why or ''} |")
    return "\n".join(lines) + "\n"
