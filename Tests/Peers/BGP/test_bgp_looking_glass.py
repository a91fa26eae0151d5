"""`cbpop bgp show`: what operators ask of a PoP that runs, and what they are told when none does."""

import json
import os
import socket
import stat
import subprocess

import pytest
from routers import POP_AS, Bird, received, wait_state

from conftest import BIN, wait_until

OURS = "198.51.100.0/24"
THEIRS = "203.0.113.0/24"


@pytest.fixture
def two(lab):
    """A PoP between two routers that both know a way to THEIRS; the first one's is shorter."""
    one = Bird(lab).start(routes4=[f"{THEIRS} bgp_community.add((65001, 7));", "203.0.113.128/25", "192.0.2.0/24"])
    other = Bird(lab).start(routes4=[f"{THEIRS} bgp_path.prepend(65100);"])
    entries = lab.neighbor(one) + lab.neighbor(other)
    pop = lab.start_pop(f"  announce: [{OURS}]\n  neighbors:\n{entries}")
    for bird, count in ((one, 3), (other, 1)):
        wait_state(pop, bird, "Established")
        wait_until(lambda bird=bird, count=count: received(pop, bird) == count)
        wait_until(lambda bird=bird: bird.route(OURS))
    return pop, one, other


def test_neighbors(lab, two):
    _, one, other = two
    first, second = lab.show("neighbors", "--json")
    assert (first["name"], first["address"], first["remoteAS"]) == (one.name, one.address, one.number)
    assert first["state"] == second["state"] == "Established"
    assert (first["received"], first["advertised"], second["received"]) == (3, 1, 1)
    assert first["localAddress"] == one.pop_address and first["faultyUpdates"] == 0
    session = first["session"]
    assert session["routerID"] == one.address and session["holdTime"] == 9
    assert session["families"] == session["complete"] == ["IPv4 unicast"]
    assert "route refresh" in session["capabilities"] and "4-octet AS numbers" in session["capabilities"]

    head, *rows = lab.show("neighbors").splitlines()
    assert head.split()[:4] == ["NAME", "ADDRESS", "AS", "STATE"] and len(rows) == 2
    assert rows[0].split()[:4] == [one.name, one.address, str(one.number), "Established"]
    details = lab.show("neighbors", other.name)
    assert f"router ID      {other.address}" in details and "hold time      9 s" in details

    other.kill()
    wait_until(lambda: lab.show("neighbors", other.name, "--json")[0]["state"] != "Established")
    (gone,) = lab.show("neighbors", other.name, "--json")
    assert "session" not in gone and "the connection failed" in gone["lastCause"] and gone["received"] == 0


def test_routes(lab, two):
    _, one, other = two
    every = lab.show("routes", "--json")
    assert [found["prefix"] for found in every] == ["192.0.2.0/24", OURS, THEIRS, "203.0.113.128/25"]
    within = lab.show("routes", "203.0.0.0/16", "--json")
    assert [found["prefix"] for found in within] == [THEIRS, "203.0.113.128/25"]
    assert [len(found["routes"]) for found in within] == [2, 1]
    of_other = lab.show("routes", "--neighbor", other.name, "--json")
    assert [(found["prefix"], len(found["routes"])) for found in of_other] == [(THEIRS, 1)]
    assert lab.show("routes", "2001:db8::/32", "--json") == []
    lines = lab.show("routes").splitlines()
    assert lines[1].split() == [OURS, "*", "-", "local", "i"]
    assert lines[2].split() == [THEIRS, "*", one.address, one.name, str(one.number), "i"]
    assert lines[3].split() == [other.address, other.name, str(other.number), "65100", "i"]


def test_why(lab, two):
    _, one, other = two
    (found,) = lab.show("why", THEIRS, "--json")
    assert found["reason"] == "shorter AS path" and found["prefix"] == THEIRS
    best, behind = found["routes"]
    assert best["neighbor"] == one.name and best["isBest"] and best["communities"] == ["65001:7"]
    assert best["nextHop"] == one.address and best["asPath"] == str(one.number) and best["origin"] == "igp"
    assert behind["neighbor"] == other.name and behind["lostBy"] == "shorter AS path" and not behind["isMultipath"]
    # An address is looked for as a packet would be.
    (found,) = lab.show("why", "203.0.113.200", "--json")
    assert found["prefix"] == "203.0.113.128/25" and found["reason"] == "the only route"
    (found,) = lab.show("why", OURS, "--json")
    assert "neighbor" not in found["routes"][0]
    text = lab.show("why", THEIRS)
    assert "best: shorter AS path" in text and "behind the best: shorter AS path" in text
    assert f"* from {one.name} ({one.address}), next hop {one.address}" in text


def refused(lab, *words):
    done = lab.ask(*words)
    assert done.returncode != 0 and done.stdout == ""
    return done.stderr


def test_what_is_not_there_is_said(lab, two):
    assert "no route to 198.18.0.0/15" in refused(lab, "why", "198.18.0.0/15")
    assert "no route to 198.18.0.1" in refused(lab, "why", "198.18.0.1", "--json")
    assert "no neighbor is called nobody" in refused(lab, "neighbors", "nobody")
    assert "no neighbor is called nobody" in refused(lab, "routes", "--neighbor", "nobody")
    assert "is neither a prefix" in refused(lab, "why", "somewhere")
    assert "is no prefix" in refused(lab, "routes", "10.0.0.1/99")


def test_the_socket_is_for_its_user_alone(lab, two):
    assert stat.S_IMODE(os.stat(lab.socket).st_mode) == 0o600


def test_anything_may_be_said_to_the_socket(lab, two):
    """Nonsense, too much, nothing: each is answered or closed, and the next one is served."""
    pop, *_ = two
    for words in [b"\n", b"bgp\n", b"\xff" * 5000, b"bgp why " + b"9" * 300 + b"\n", b"\0\n", b"bgp routes - -" * 40 + b"\n"]:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(10)
            one.connect(lab.socket)
            one.sendall(words)
            answer = b""
            while chunk := one.recv(65536):
                answer += chunk
            assert json.loads(answer)["error"] == "not understood", words
    silent = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for one in silent:
        one.connect(lab.socket)
    assert lab.show("neighbors", "--json")
    for one in silent:
        one.close()
    assert pop.process.poll() is None and lab.show("routes", "--json")


def test_without_a_pop(lab, two):
    pop, *_ = two
    pop.kill()
    assert "no PoP runs here" in refused(lab, "neighbors")
    # The file that it has left behind is no hindrance to the next one, and goes with that.
    pop.start()
    wait_until(lambda: lab.ask("neighbors").returncode == 0)
    pop.stop()
    assert not os.path.exists(lab.socket)
    assert f"no PoP runs here: nothing answers at {lab.socket}" in refused(lab, "neighbors")


def test_a_pop_without_neighbors(lab):
    lab.start_pop("  announce: []\n")
    wait_until(lambda: os.path.exists(lab.socket))
    assert "this PoP has no BGP neighbors" in refused(lab, "neighbors")


def test_the_settings_say_where_the_socket_is(lab, two):
    pop, one, _ = two
    command = [str(BIN / "cbpop"), "bgp", "show", "neighbors", "--json", "--config", str(pop.config)]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[0]["name"] == one.name
    assert POP_AS != one.number
