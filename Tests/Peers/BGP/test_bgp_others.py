"""cbpop as a BGP speaker beside GoBGP and ExaBGP: the same stories as with BIRD, told by others."""

import json

import pytest
from routers import POP_AS, Bird, ExaBGP, GoBGP, mark, need, received, states, wait_state

from conftest import wait_until

OURS = "198.51.100.0/24"
OURS6 = "2001:db8:100::/48"
THEIRS = "203.0.113.0/24"


def start(lab, *routers, announce=(OURS,), **settings):
    entries = "".join(lab.neighbor(router, **settings) for router in routers)
    return lab.start_pop(f"  announce: [{', '.join(announce)}]\n  shutdownDelay: 1s\n  neighbors:\n{entries}")


def attribute(path, kind):
    return next((a for a in path["attrs"] if a["type"] == kind), None)


# ---- GoBGP


@pytest.mark.parametrize("passive", [False, True])
def test_gobgp_exchanges_routes(lab, passive):
    router = GoBGP(lab).start(passive=passive)
    router.add(THEIRS, "community", "65001:7", "large-community", "65001:1:2", "med", "30")
    pop = start(lab, router)
    wait_state(pop, router, "Established")
    wait_until(lambda: received(pop, router) == 1, what="GoBGP's route at ours")
    path = wait_until(lambda: router.route(OURS), what="our route at GoBGP")
    assert attribute(path, 2)["as_paths"][0]["asns"] == [POP_AS]
    assert attribute(path, 3)["nexthop"] == router.pop_address


def test_gobgp_with_both_families(lab):
    router = GoBGP(lab).start(families=("ipv4-unicast", "ipv6-unicast"))
    pop = start(
        lab, router, announce=(OURS, f"'{OURS6}'"), families="[ipv4, ipv6]", nextHops=f"['{router.pop_address6}']"
    )
    wait_state(pop, router, "Established")
    router.add(THEIRS)
    router.add("2001:db8:200::/48", family="ipv6")
    wait_until(lambda: received(pop, router) == 2, what="GoBGP's routes at ours")
    wait_until(lambda: router.route(OURS) and router.route(OURS6, "ipv6"), what="our routes at GoBGP")


def test_gobgp_goes_and_comes(lab):
    router = GoBGP(lab).start()
    pop = start(lab, router)
    wait_state(pop, router, "Established")
    since = mark(pop)
    router.kill()
    wait_state(pop, router, "Idle", since)
    since = mark(pop)
    router.start()
    wait_state(pop, router, "Established", since)
    wait_until(lambda: router.route(OURS), what="our route again")

    since = mark(pop)
    router.ask("neighbor", router.pop_address, "shutdown", "--reason", "new fans")
    assert "new fans" in wait_state(pop, router, "Idle", since)
    router.ask("neighbor", router.pop_address, "enable")
    wait_state(pop, router, "Established", since)


# ---- ExaBGP


def test_exabgp_exchanges_routes(lab):
    router = ExaBGP(lab).start([f"{THEIRS} next-hop self community [65001:7] large-community [65001:1:2]"])
    pop = start(lab, router)
    wait_state(pop, router, "Established")
    wait_until(lambda: received(pop, router) == 1, what="ExaBGP's route at ours")
    route = wait_until(lambda: router.announced(OURS), what="our route at ExaBGP")
    assert route["as-path"] == [POP_AS] and route["origin"] == "igp" and route["next-hop"] == router.pop_address
    # The End-of-RIB is of the one family that both speak: of another, some end the session.
    ends = wait_until(lambda: [message for message in router.heard() if '"eor"' in json.dumps(message)], what="the End-of-RIB")
    assert len(ends) == 1 and '"ipv4"' in json.dumps(ends[0]).replace(" ", "")


def test_exabgp_sends_back_what_has_been_through_us(lab):
    """A path with our own AS in it is a loop, and no reason to end the session."""
    router = ExaBGP(lab).start(
        [f"{OURS} next-hop self as-path [65001 {POP_AS}]", f"{THEIRS} next-hop self as-path [65001 65100]"]
    )
    pop = start(lab, router)
    wait_state(pop, router, "Established")
    wait_until(lambda: received(pop, router) == 1, what="the route that is no loop")
    assert lab.show("routes", "--neighbor", router.name, "--json")[0]["prefix"] == THEIRS
    assert states(pop, router)[-1] == ("Established", None)


def test_exabgp_with_many_large_communities_and_a_blackhole(lab):
    router = ExaBGP(lab).start([f"{THEIRS} next-hop self community [65535:666 no-export] large-community [1:2:3 4:5:6]"])
    pop = start(lab, router)
    wait_state(pop, router, "Established")
    wait_until(lambda: received(pop, router) == 1)
    (found,) = lab.show("why", THEIRS, "--json")
    (route,) = found["routes"]
    assert sorted(route["communities"]) == ["65535:65281", "65535:666"]
    assert route["largeCommunities"] == ["1:2:3", "4:5:6"]


def test_exabgp_hears_what_others_say_and_the_end(lab):
    """BIRD's route goes through to ExaBGP with all that is on it, and is taken back; then the PoP stops."""
    need("bird")
    bird = Bird(lab).start(
        routes4=[f"{THEIRS} bgp_community.add((65001, 7)); bgp_large_community.add((65001, 1, 2)); bgp_med = 9;"]
    )
    router = ExaBGP(lab).start()
    pop = start(lab, bird, router, transit="true")
    for other in (bird, router):
        wait_state(pop, other, "Established")
    route = wait_until(lambda: router.announced(THEIRS), what="BIRD's route at ExaBGP")
    assert route["as-path"] == [POP_AS, bird.number] and "med" not in route
    assert route["community"] == [[65001, 7]] and route["large-community"] == [[65001, 1, 2]]
    bird.ask("disable static1")
    wait_until(lambda: router.announced(THEIRS) is None, what="the withdrawal")
    pop.process.terminate()
    wait_until(lambda: (router.announced(OURS) or {}).get("community") == [[65535, 0]], 5, "GRACEFUL_SHUTDOWN")
    wait_until(lambda: router.announced(OURS) is None, 5, "the withdrawal of ours")
    # ExaBGP 4.2.21 trips over a NOTIFICATION on its way to the helper, and says so: that is our goodbye.
    wait_until(lambda: 'message of type "3"' in str(router.heard()), 15, "the goodbye")
    assert "sent Cease: Administrative Shutdown (the PoP stops)" in pop.log.text


def test_exabgp_asks_for_a_refresh(lab):
    """RFC 7313: everything comes again, between the marks of its beginning and its end."""
    router = ExaBGP(lab).start()
    pop = start(lab, router)
    wait_state(pop, router, "Established")
    wait_until(lambda: router.announced(OURS), what="our route at ExaBGP")
    before = len(router.heard())
    router.order("announce route-refresh ipv4 unicast")
    wait_until(lambda: [m for m in router.heard()[before:] if m["type"] == "update"], what="the route again")
    wait_until(lambda: len([m for m in router.heard()[before:] if m["type"] == "refresh"]) == 2, what="both marks")
    kinds = [m["type"] for m in router.heard()[before:] if m["type"] in ("refresh", "update")]
    assert kinds == ["refresh", "update", "refresh"]
    assert router.announced(OURS) and states(pop, router)[-1] == ("Established", None)


def test_exabgp_goes_and_comes(lab):
    router = ExaBGP(lab).start([f"{THEIRS} next-hop self"])
    pop = start(lab, router)
    wait_until(lambda: received(pop, router) == 1, what="ExaBGP's route at ours")
    since = mark(pop)
    router.kill()
    wait_state(pop, router, "Idle", since)
    assert received(pop, router) == 0
    router.start([f"{THEIRS} next-hop self"])
    wait_until(lambda: received(pop, router) == 1, what="ExaBGP's route again")
