"""What operators have a running PoP announce: seen at BIRD, ended by itself, kept through a restart, and refused."""

import json
import os
import stat
import time

import pytest
from routers import Bird, run, wait_state

from conftest import wait_until

OURS = "198.51.100.0/24"
ASKED = "203.0.113.0/24"
VICTIM = "198.51.100.7/32"


@pytest.fixture
def bird(lab):
    return Bird(lab).start(routes4=["192.0.2.0/24"])


def start(lab, *routers, bgp=""):
    entries = "".join(lab.neighbor(router) for router in routers)
    pop = lab.start_pop(f"  announce: [{OURS}]\n  shutdownDelay: 1s\n{bgp}  neighbors:\n{entries}")
    for router in routers:
        wait_state(pop, router, "Established")
        wait_until(lambda router=router: router.route(OURS), what="the settings' own prefix")
    return pop


def ask(lab, *words):
    done = lab.order(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(lab, *words):
    done = lab.order(*words)
    assert done.returncode == 1 and done.stdout == "", done
    return done.stderr


def test_an_announcement_ends_by_itself(lab, bird):
    start(lab, bird)
    began = time.monotonic()
    said = ask(lab, "announce", ASKED, "--for", "2s", "--community", "64512:7", "--community", "64512:1:2", "--med", 30)
    assert said.splitlines()[1].split() == ["announce", "00:00:02", ASKED, "64512:7", "64512:1:2", "MED", "30"]
    text = wait_until(lambda: bird.route(ASKED), what="it at BIRD")
    assert "BGP.community: (64512,7)" in text and "BGP.large_community: (64512, 1, 2)" in text and "BGP.med: 30" in text
    assert f"BGP.next_hop: {bird.pop_address}" in text
    wait_until(lambda: not bird.route(ASKED), 10, "its end at BIRD")
    assert time.monotonic() - began > 1.8
    assert json.loads(ask(lab, "show", "requests", "--json")) == [] and bird.route(OURS)


def test_an_announcement_is_changed_and_withdrawn(lab, bird):
    start(lab, bird)
    ask(lab, "announce", ASKED, "--next-hop", bird.pop_address)
    ask(lab, "announce", "203.0.113.9", "--next-hop", "10.77.1.77", "--for", "1h")
    assert "BGP.next_hop: 10.77.1.77" in wait_until(lambda: bird.route("203.0.113.9/32"))
    first, second = json.loads(ask(lab, "show", "requests", "--json"))
    assert (first["kind"], first["subject"]) == ("announce", ASKED) and "secondsLeft" not in first
    assert second["nextHop"] == "10.77.1.77" and 3500 < second["secondsLeft"] <= 3600
    ask(lab, "announce", ASKED, "--med", 5)
    wait_until(lambda: "BGP.med: 5" in (bird.route(ASKED) or ""))
    assert ask(lab, "withdraw", ASKED) == ""
    wait_until(lambda: not bird.route(ASKED))
    assert len(json.loads(ask(lab, "show", "requests", "--json"))) == 1


def kernel_route(lab, prefix):
    found = json.loads(run("ip", "-j", "-n", lab.space, "-d", "route", "show", prefix) or "[]")
    return found[0] if found else None


def test_a_blackhole(lab, bird):
    start(lab, bird, bgp="  kernel:\n    on: true\n  requests:\n    lifetime: 30m\n")
    ask(lab, "blackhole", VICTIM)
    text = wait_until(lambda: bird.route(VICTIM), what="it at BIRD")
    # BLACKHOLE and NO_EXPORT.
    assert "(65535,666)" in text and "(65535,65281)" in text
    (view,) = json.loads(ask(lab, "show", "requests", "--json"))
    assert view["kind"] == "blackhole" and 1700 < view["secondsLeft"] <= 1800
    wait_until(lambda: (kernel_route(lab, VICTIM) or {}).get("type") == "blackhole", what="it in the kernel")
    # It is as it was, with another lifetime.
    ask(lab, "blackhole", VICTIM, "--for", "2s")
    wait_until(lambda: not bird.route(VICTIM), 10, "its end at BIRD")
    wait_until(lambda: not kernel_route(lab, VICTIM), what="its end in the kernel")
    assert bird.route(OURS)


def test_a_blackhole_of_what_a_neighbor_announces(lab, bird):
    start(lab, bird, bgp="  kernel:\n    on: true\n")
    wait_until(lambda: (kernel_route(lab, "192.0.2.0/24") or {}).get("gateway") == bird.address)
    ask(lab, "blackhole", "192.0.2.0/24", "--for", "2s")
    wait_until(lambda: (kernel_route(lab, "192.0.2.0/24") or {}).get("type") == "blackhole")
    wait_until(lambda: (kernel_route(lab, "192.0.2.0/24") or {}).get("gateway") == bird.address, 10, "the way back")


def test_what_is_refused(lab, bird):
    start(lab, bird)
    assert f"{OURS} is announced by the settings (bgp.announce)" in refused(lab, "announce", OURS)
    assert f"covers {OURS}" in refused(lab, "blackhole", OURS)
    assert f"covers {OURS}" in refused(lab, "blackhole", "198.51.0.0/16", "--for", "1m")
    assert "is no prefix" in refused(lab, "announce", "198.51.100.1/24")
    assert "is no community" in refused(lab, "announce", ASKED, "--community", "x")
    assert "of the prefix's family" in refused(lab, "announce", ASKED, "--next-hop", "::1")
    assert "is none, such as 30s" in refused(lab, "announce", ASKED, "--for", "soon")
    assert "is none, such as 30s" in refused(lab, "announce", ASKED, "--for", "0")
    assert "longer than bgp.requests.maximumLifetime, 24h" in refused(lab, "blackhole", VICTIM, "--for", "25h")
    assert f"{ASKED} was not requested" in refused(lab, "withdraw", ASKED)
    assert f"{OURS} was not requested" in refused(lab, "withdraw", OURS)
    ask(lab, "announce", ASKED)
    assert "is requested as announce" in refused(lab, "blackhole", ASKED)
    assert "'deny' is none of drop" in refused(lab, "flowspec", "add", f"dst {VICTIM}", "--action", "deny")
    assert "'to' is none of dst" in refused(lab, "flowspec", "add", f"to {VICTIM}")
    assert "no such rule" in refused(lab, "flowspec", "remove", f"dst {VICTIM}")
    assert bird.route(OURS) and json.loads(ask(lab, "show", "requests", "--json"))[0]["subject"] == ASKED


def test_requests_outlive_a_restart(lab, bird, tmp_path):
    file = tmp_path / "requests.json"
    pop = start(lab, bird, bgp=f"  requests:\n    file: {file}\n")
    ask(lab, "announce", ASKED)
    ask(lab, "blackhole", VICTIM, "--for", "1h")
    ask(lab, "announce", "203.0.114.0/24", "--for", "2s")
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    wait_until(lambda: bird.route(ASKED) and bird.route(VICTIM))
    pop.kill()
    wait_until(lambda: not bird.route(ASKED))
    time.sleep(2)
    pop.start()
    wait_until(lambda: bird.route(ASKED) and bird.route(VICTIM), 30, "both again")
    left = json.loads(ask(lab, "show", "requests", "--json"))
    assert [view["subject"] for view in left] == [ASKED, VICTIM] and left[1]["secondsLeft"] < 3599
    # An orderly stop withdraws them first, and asks for other ways even before.
    pop.process.terminate()
    wait_until(lambda: "(65535,0)" in (bird.route(ASKED) or ""), what="GRACEFUL_SHUTDOWN")
    pop.process.wait(20)
    pop.start()
    wait_until(lambda: bird.route(ASKED) and bird.route(VICTIM), 30, "both once more")
    pop.kill()
    file.write_text("{")
    pop.start()
    pop.log.wait_for("requests of an earlier run cannot be read")
    wait_until(lambda: bird.route(OURS), 30)
    assert not bird.route(ASKED)
