"""What went wrong for users of other speakers, told to cbpop by a peer that says exactly that. docs/bgp-traps.md names them all."""

import contextlib
import re
import socket
import struct
import time

import pytest
from namespaces import inside
from routers import POP_AS, mark, received, report, run, states, wait_state
from speaker import END_OF_RIB, IPV4, Speaker, message, update

from conftest import wait_until

OURS = "198.51.100.0/24"
MANY = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(400)]
# 120 s, and what is to be said of a restart (RFC 4724 §3).
GRACE, GRACE_RESTARTED = 0x0078, 0x8078


def start(lab, *speakers, announce=(OURS,), **settings):
    entries = "".join(lab.neighbor(speaker, **({"passive": "true"} | settings)) for speaker in speakers)
    return lab.start_pop(f"  announce: [{', '.join(announce)}]\n  shutdownDelay: 1s\n  neighbors:\n{entries}")


def memory(pop):
    """Octets that the PoP has resident."""
    text = open(f"/proc/{pop.process.pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) << 10


# ---- End-of-RIB


@pytest.mark.parametrize("restart", [None, GRACE])
def test_the_end_of_rib_comes_behind_all_routes(lab, restart):
    """exabgp #328: a speaker that says it first has its neighbor drop the routes of before a restart. Once, and of the one
    family that both speak: of another, OpenBGPD ends the session."""
    speaker = Speaker(lab)
    start(
        lab, speaker, announce=MANY, restartTime="120s", families="[ipv4, ipv6]",
        nextHops=f"['{speaker.pop_address6}']",
    )
    speaker.connect(restart=restart)
    speaker.send(END_OF_RIB)
    speaker.wait_for_end()
    time.sleep(0.5)
    updates = speaker.updates()
    assert speaker.ends() == [IPV4] and updates[-1][2] == IPV4
    assert {prefix for added, _, _ in updates[:-1] for prefix in added} == set(MANY)


def test_a_pop_that_is_back_says_its_routes_before_their_end(lab):
    speaker = Speaker(lab)
    pop = start(lab, speaker, announce=MANY, restartTime="120s")
    speaker.connect(restart=GRACE)
    speaker.send(END_OF_RIB)
    speaker.wait_for_end()
    pop.kill()
    speaker.close()
    pop.start()
    speaker.connect(restart=GRACE)
    time.sleep(1)
    # RFC 4724 §4.1: it waits for what this one knows.
    assert speaker.updates() == []
    speaker.send(END_OF_RIB)
    speaker.wait_for_end(3)
    assert speaker.announced() == set(MANY) and speaker.updates()[-1][2] == IPV4


@pytest.mark.parametrize("flags", [GRACE, GRACE_RESTARTED])
def test_nobody_is_waited_for_in_vain(lab, flags):
    """gobgp #1632, calico #7144: of two that have restarted, each waits for the other's End-of-RIB. One that says that it has
    is not waited for; one that never says its End-of-RIB, for ten seconds and no more."""
    speaker = Speaker(lab)
    pop = start(lab, speaker, restartTime="120s")
    began = time.monotonic()
    speaker.connect(restart=flags)
    wait_until(lambda: speaker.announced() == {OURS}, 15, "our route")
    waited = time.monotonic() - began
    # The deferral is ten seconds; a restart takes part of the first.
    assert (waited > 5) == (flags == GRACE)
    assert states(pop, speaker)[-1] == ("Established", None)


def test_a_family_that_the_neighbor_lacks_holds_nothing_up(lab):
    """cilium #30367: no routes for 300 s, as the End-of-RIB of IPv6 was waited for."""
    speaker = Speaker(lab)
    start(
        lab, speaker, restartTime="120s", families="[ipv4, ipv6]", nextHops=f"['{speaker.pop_address6}']",
    )
    speaker.connect(families=(IPV4,), restart=GRACE)
    speaker.send(END_OF_RIB)
    # Half of the time that would be waited at most.
    wait_until(lambda: speaker.announced() == {OURS}, 5, "our route")


# ---- Routes


@pytest.mark.parametrize("number", [None, POP_AS])
def test_what_a_neighbor_has_said_is_not_said_back_to_it(lab, number):
    """FRR does so by default, and leaves it to the neighbor to find its own AS in the path."""
    one, two = Speaker(lab, number), Speaker(lab)
    pop = start(lab, one, two, transit="true")
    one.connect()
    two.connect()
    path = [] if number else [one.number]
    one.send(update(MANY, one.address, path, local_preference=100 if number else None))
    one.send(END_OF_RIB)
    wait_until(lambda: two.announced() == {*MANY, OURS}, what="all routes at the other neighbor")
    # Nor when it says them otherwise, nor when it takes them back.
    one.send(update(MANY[:9], one.address, path, community=77, local_preference=100 if number else None))
    one.send(update([], one.address, path, withdrawn=MANY[9:]))
    wait_until(lambda: two.announced() == {*MANY[:9], OURS}, what="the change at the other neighbor")
    assert {prefix for added, gone, _ in one.updates() for prefix in (*added, *gone)} == {OURS}
    assert received(pop, one) == 9


def test_the_prefix_goes_before_the_service(lab):
    """exabgp #993: withdraw first, then close. While a router may still send somebody here, somebody is here."""
    speaker = Speaker(lab)
    pop = start(lab, speaker)
    speaker.connect()
    wait_until(lambda: speaker.announced() == {OURS}, what="our route")

    def is_serving():
        return f":{pop.quic_port}" in run("ip", "netns", "exec", lab.space, "ss", "-Hlun", check=False)

    assert is_serving()
    pop.process.terminate()
    seen = []
    while speaker.announced() and time.monotonic():
        seen.append(is_serving())
        time.sleep(0.02)
    assert len(seen) > 5 and all(seen)
    wait_until(lambda: pop.process.poll() is not None, 20, "the end")


# ---- Strangers and floods


def everything(own):
    """All that comes until the end, whichever end it is."""
    heard = b""
    with contextlib.suppress(ConnectionError):
        while piece := own.recv(4096):
            heard += piece
    return heard


def test_a_stranger_is_told_that_it_is_one(lab):
    """RFC 4486 §4: Connection Rejected, and the end. Many of them are no trouble to the neighbors."""
    speaker, stranger = Speaker(lab), Speaker(lab)
    start(lab, speaker)
    speaker.connect()

    def ask(sends=b""):
        with inside(stranger.space), socket.socket() as own:
            own.settimeout(5)
            with contextlib.suppress(ConnectionError):
                own.connect((stranger.pop_address, 179))
                own.sendall(sends)
            return everything(own)

    assert ask() == message(3, bytes([6, 5]))
    assert ask(b"GET / HTTP/1.1\r\n\r\n") == message(3, bytes([6, 5]))
    # Beyond a few a second they are reset without a word, and none of them leaves anything behind.
    assert {ask() for _ in range(200)} <= {message(3, bytes([6, 5])), b""}
    connections = ["ip", "netns", "exec", lab.space, "ss", "-Htn", "state", "connected", "dst", stranger.address]
    wait_until(lambda: not re.search("ESTAB|CLOSE-WAIT", run(*connections)), what="no connection left")
    assert report(lab.pop)[speaker.name]["state"] == "Established"


def test_a_second_connection_does_not_shake_an_established_session(lab):
    """RFC 4271 §6.8: it is the new one that goes, told so as soon as its OPEN shows what it is."""
    speaker = Speaker(lab)
    start(lab, speaker)
    speaker.connect()
    first = speaker.socket
    with inside(speaker.space), socket.socket() as second:
        second.bind((speaker.address, 0))
        second.settimeout(5)
        second.connect((speaker.pop_address, 179))
        second.sendall(message(1, struct.pack(">BHH4sB", 4, speaker.number, 90, socket.inet_aton(speaker.address), 0)))
        assert everything(second).endswith(message(3, bytes([6, 7])))
    assert speaker.socket is first and report(lab.pop)[speaker.name]["state"] == "Established"
    assert not any(kind in (3, None) for _, kind, _ in speaker.messages)


def test_who_is_farther_away_gets_no_connection(lab):
    """RFC 5082: the least TTL is the listener's, so that not even the handshake of a stranger is answered."""
    speaker = Speaker(lab)
    start(lab, speaker, ttlSecurity="true")

    def connects(ttl):
        with inside(speaker.space), socket.socket() as own:
            own.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            own.bind((speaker.address, 0))
            own.settimeout(1.5)
            try:
                own.connect((speaker.pop_address, 179))
            except TimeoutError:
                return False
            return True

    assert [connects(64), connects(254), connects(255)] == [False, False, True]


def test_a_neighbor_that_floods_is_read_and_not_hoarded(lab):
    """FRR #12176, #23220: what comes faster than it is worked on stays in the kernel's buffers."""
    speaker, other = Speaker(lab), Speaker(lab)
    pop = start(lab, speaker, other, transit="true")
    speaker.connect()
    other.connect()
    batch = b"".join(
        update(MANY, speaker.address, [speaker.number, 65100 + number], community=number) for number in range(200)
    )
    speaker.socket.settimeout(60)
    speaker.send(batch)
    wait_until(lambda: other.announced() >= set(MANY), 30, "the routes at the other neighbor")
    before = memory(pop)
    end = time.monotonic() + 15
    sent, most = 0, 0
    while time.monotonic() < end:
        speaker.send(batch)
        sent += 200
        most = max(most, memory(pop))
    wait_until(lambda: report(pop)[speaker.name]["updatesReceived"] >= sent, 60, "all of it read")
    print(f"{sent} UPDATE messages of {len(MANY)} prefixes; {before >> 20} MB before, at most {most >> 20} MB")
    assert most - before < 24 << 20
    for one in (speaker, other):
        assert states(pop, one)[-1] == ("Established", None)


def test_a_neighbor_that_reads_nothing_costs_no_memory(lab):
    """gobgp #2331: what one does not read must not be kept for it, message by message."""
    flapping, stuck = Speaker(lab), Speaker(lab)
    pop = start(lab, flapping, stuck, transit="true", holdTime="240s")
    run("ip", "netns", "exec", lab.space, "sysctl", "-qw", "net.ipv4.tcp_wmem=4096 16384 65536")
    flapping.connect(hold=240)
    stuck.connect(hold=240, reads=False, buffer=8192)
    routes = [f"20.{n >> 8}.{n & 255}.0/24" for n in range(6_000)]

    def tell(number):
        for at in range(0, len(routes), 600):
            flapping.send(update(routes[at : at + 600], flapping.address, [flapping.number, 65100 + number]))

    flapping.socket.settimeout(60)
    tell(0)
    wait_until(lambda: received(pop, flapping) == len(routes), 30)
    tell(1)
    before = memory(pop)
    for number in range(40):
        tell(number)
    wait_until(lambda: report(pop)[flapping.name]["updatesReceived"] >= 420, 60, "all of it read")
    after = memory(pop)
    print(f"{before >> 20} MB before, {after >> 20} MB after 240,000 changes that nobody took")
    assert after - before < 16 << 20
    assert states(pop, stuck)[-1] == ("Established", None)


def test_a_cease_says_whether_it_is_meant(lab):
    """cilium #31346: a Cease defeats graceful restart. Ours does so where it is meant: at a stop. With RFC 8538 it says so as a
    Hard Reset, and a neighbor's Cease that is none leaves its routes."""
    speaker = Speaker(lab)
    pop = start(lab, speaker, restartTime="120s")
    # N of RFC 8538, 120 s.
    speaker.connect(restart=0x4078)
    speaker.send(update([MANY[0]], speaker.address, [speaker.number]) + END_OF_RIB)
    wait_until(lambda: received(pop, speaker) == 1, what="its route")
    since = mark(pop)
    speaker.send(message(3, bytes([6, 4, 0])))
    assert "Administrative Reset" in wait_state(pop, speaker, "Idle", since)
    assert received(pop, speaker) == 1
    speaker.close()
    wait_until(lambda: "Idle" not in states(pop, speaker, since)[-1], 10, "the end of its time in Idle")
    speaker.connect(restart=0xC078)
    speaker.send(update([MANY[0]], speaker.address, [speaker.number]) + END_OF_RIB)
    wait_until(lambda: speaker.announced() == {OURS}, what="our route")
    pop.process.terminate()
    wait_until(lambda: any(kind == 3 for _, kind, _ in speaker.messages), 20, "the goodbye")
    said = next(body for _, kind, body in speaker.messages if kind == 3)
    assert said[:4] == bytes([6, 9, 6, 2]) and said.endswith(b"the PoP stops")
