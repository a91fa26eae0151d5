"""cbpop as a BGP speaker beside BIRD 2: sessions, routes both ways, and what becomes of both when something breaks."""

import json
import re
import time

import pytest
from routers import POP_AS, Bird, mark, received, report, run, states, wait_state

from conftest import wait_until

OURS = "198.51.100.0/24"
OURS6 = "2001:db8:100::/48"
THEIRS = "203.0.113.0/24"
THEIRS6 = "2001:db8:200::/48"


def start(lab, *routers, announce=(OURS,), **settings):
    entries = "".join(lab.neighbor(router, **settings) for router in routers)
    return lab.start_pop(f"  announce: [{', '.join(announce)}]\n  shutdownDelay: 1s\n  neighbors:\n{entries}")


def up(lab, announce=(OURS,), bird=None, **settings):
    """A PoP and a BIRD with an established session."""
    router = Bird(lab).start(**({"routes4": [THEIRS]} | (bird or {})))
    pop = start(lab, router, announce=announce, **settings)
    wait_state(pop, router, "Established")
    wait_until(router.is_up, what="BIRD established")
    return pop, router


def test_a_session_exchanges_routes(lab):
    pop, bird = up(lab, bird={"routes4": [THEIRS, "192.0.2.128/25", "0.0.0.0/0"]})
    route = wait_until(lambda: bird.route(OURS), what="our route at BIRD")
    assert f"BGP.as_path: {POP_AS}" in route
    assert f"BGP.next_hop: {bird.pop_address}" in route
    assert "BGP.origin: IGP" in route
    assert "BGP.local_pref" in route and "BGP.med" not in route
    wait_until(lambda: received(pop, bird) == 3, what="BIRD's routes at ours")
    assert report(pop)[bird.name]["advertised"] == 1
    details = bird.ask("show protocols all pop")
    for capability in ["4-octet AS numbers", "Enhanced refresh", "Route refresh", "AF announced: ipv4"]:
        assert details.count(capability) >= 2, details
    # BIRD has taken no offence: no error, and an End-of-RIB.
    assert "Error" not in details.split("Neighbor capabilities")[0]


def test_routes_go_through_from_one_router_to_another(lab):
    statements = "bgp_community.add((65001, 7)); bgp_large_community.add((65001, 1, 2)); bgp_med = 50; bgp_path.prepend(65100);"
    one = Bird(lab).start(routes4=[f"{THEIRS} {statements}", "192.0.2.128/25"])
    two = Bird(lab).start()
    pop = start(lab, one, two, transit="true")
    for bird in (one, two):
        wait_state(pop, bird, "Established")
    route = wait_until(lambda: two.route(THEIRS), what="the route at the other router")
    assert re.search(rf"BGP.as_path: {POP_AS} {one.number} 65100", route)
    assert f"BGP.next_hop: {two.pop_address}" in route
    assert "(65001,7)" in route and "(65001, 1, 2)" in route
    assert "BGP.med" not in route, "another AS's MED does not go on"
    # Not back to where it came from.
    assert one.route(THEIRS) is None
    wait_until(lambda: one.route(OURS) and two.route(OURS), what="our own route at both")

    one.ask("disable static1")
    wait_until(lambda: two.route(THEIRS) is None, what="the withdrawal")
    one.ask("enable static1")
    wait_until(lambda: two.route(THEIRS), what="the route again")
    assert states(pop, two)[-1] == ("Established", None)


@pytest.mark.parametrize("six", [False, True])
def test_both_families_on_one_session(lab, six):
    bird = {"routes4": [THEIRS], "routes6": [THEIRS6, "2001:db8:300::/47"], "channels": "ipv4 ipv6", "six": six}
    router = Bird(lab).start(**bird)
    hop = router.pop_address if six else router.pop_address6
    pop = start(
        lab, router, announce=(OURS, f"'{OURS6}'"), six=six, families="[ipv4, ipv6]", nextHops=f"['{hop}']",
        address=f"'{router.address6}'" if six else router.address,
    )
    wait_state(pop, router, "Established")
    wait_until(lambda: received(pop, router) == 3, what="BIRD's routes at ours")
    for prefix, hop in [(OURS, router.pop_address), (OURS6, router.pop_address6)]:
        route = wait_until(lambda prefix=prefix: router.route(prefix), what=prefix)
        assert f"BGP.next_hop: {hop}" in route and f"BGP.as_path: {POP_AS}" in route


def test_an_internal_session(lab):
    bird = Bird(lab, number=POP_AS).start(routes4=[THEIRS])
    pop = start(lab, bird)
    wait_state(pop, bird, "Established")
    route = wait_until(lambda: bird.route(OURS), what="our route")
    assert "BGP.local_pref: 100" in route
    assert re.search(r"BGP.as_path: *$", route, re.M)
    wait_until(lambda: received(pop, bird) == 1)


# ---- Something breaks


def test_a_router_that_is_killed_is_missed_at_once_and_taken_back(lab):
    pop, bird = up(lab)
    wait_until(lambda: received(pop, bird) == 1)
    since = mark(pop)
    bird.kill()
    wait_state(pop, bird, "Idle", since)
    assert received(pop, bird) == 0
    since = mark(pop)
    bird.start(fresh=False)
    wait_state(pop, bird, "Established", since)
    wait_until(lambda: received(pop, bird) == 1 and bird.route(OURS), what="the routes again")


def test_a_pop_that_is_killed_is_missed_at_once_and_taken_back(lab):
    pop, bird = up(lab)
    wait_until(lambda: bird.route(OURS))
    pop.kill()
    wait_until(lambda: bird.route(OURS) is None, 2, "the withdrawal")
    pop.start()
    wait_state(pop, bird, "Established")
    wait_until(lambda: bird.route(OURS), what="our route again")


def test_a_silent_router_is_given_up_when_the_hold_time_is_over(lab):
    pop, bird = up(lab, holdTime="3s")
    since = mark(pop)
    bird.pause()
    assert "sent Hold Timer Expired" in wait_state(pop, bird, "Idle", since)
    bird.resume()
    wait_state(pop, bird, "Established", since)
    assert "Hold timer expired" in bird.said()


def test_a_silent_pop_is_given_up_when_the_hold_time_is_over(lab):
    pop, bird = up(lab, holdTime="3s")
    since = mark(pop)
    pop.process.send_signal(19)
    wait_until(lambda: "Hold timer expired" in bird.said(), 6, "BIRD's hold timer")
    pop.process.send_signal(18)
    cause = wait_state(pop, bird, "Idle", since)
    assert "Hold Timer Expired" in cause, cause
    wait_state(pop, bird, "Established", since)


def test_a_link_that_is_down_for_a_while(lab):
    pop, bird = up(lab, holdTime="3s")
    since = mark(pop)
    bird.link_down()
    wait_state(pop, bird, "Idle", since, timeout=6)
    bird.link_up()
    wait_state(pop, bird, "Established", since, timeout=30)
    wait_until(lambda: bird.route(OURS), what="our route again")


# ---- Operators


def test_a_stop_first_asks_for_other_ways_then_withdraws_and_says_why(lab):
    pop, bird = up(lab)
    wait_until(lambda: bird.route(OURS))
    pop.process.terminate()
    wait_until(lambda: "(65535,0)" in (bird.route(OURS) or ""), 5, "GRACEFUL_SHUTDOWN")
    wait_until(lambda: bird.route(OURS) is None, 5, "the withdrawal")
    wait_until(lambda: "Administrative shutdown" in bird.ask("show protocols all pop"), 15, "the goodbye")
    assert "the PoP stops" in bird.said()


def test_another_operator_s_word_is_in_the_log(lab):
    pop, bird = up(lab)
    since = mark(pop)
    bird.ask('disable pop "power works until noon"')
    cause = wait_state(pop, bird, "Idle", since)
    assert "received Cease: Administrative Shutdown" in cause and "power works until noon" in cause
    bird.ask("enable pop")
    wait_state(pop, bird, "Established", since)


def test_a_refresh_sends_everything_again(lab):
    pop, bird = up(lab, announce=(OURS, "192.0.2.0/26"))
    wait_until(lambda: bird.count() == 2)

    def updates():
        found = re.search(r"Import updates: +(\d+)", bird.ask("show protocols all pop"))
        return int(found[1])

    before = updates()
    bird.ask("reload in pop")
    wait_until(lambda: updates() == before + 2, what="the routes again")
    time.sleep(0.3)
    assert bird.count() == 2 and bird.is_up()


def test_a_router_sends_everything_again(lab):
    """BIRD marks where its refresh begins and ends (RFC 7313); what it no longer has is not missed."""
    pop, bird = up(lab, bird={"routes4": [THEIRS, "192.0.2.128/25"]})
    wait_until(lambda: received(pop, bird) == 2)

    def updates():
        return lab.show("neighbors", "--json")[0]["updatesReceived"]

    before = updates()
    bird.ask("reload out pop")
    wait_until(lambda: updates() > before, what="the routes again")
    assert received(pop, bird) == 2 and bird.is_up() and states(pop, bird)[-1] == ("Established", None)


def test_too_many_prefixes_end_the_session(lab):
    bird = Bird(lab).start(routes4=["192.0.2.0/26", "192.0.2.64/26", "192.0.2.128/26"])
    pop = start(lab, bird, maximumPrefixes=2)
    wait_state(pop, bird, "Established")
    assert "Maximum Number of Prefixes Reached" in wait_state(pop, bird, "Idle")
    wait_until(lambda: "Maximum number of prefixes reached" in bird.said(), what="BIRD's word for it")


def test_a_neighbor_that_waits_after_an_error_is_tried_again(lab):
    """BIRD refuses connections for a while after an error; the PoP neither gives up nor takes offence."""
    pop, bird = up(lab, bird={"session": "error wait time 4,4;"})
    since = mark(pop)
    bird.pause()
    wait_state(pop, bird, "Idle", since, 20)
    bird.resume()
    wait_state(pop, bird, "Established", since, 40)
    wait_until(lambda: bird.route(OURS), what="our route again")


# ---- What both ends may agree on


def test_several_paths_for_one_prefix(lab):
    """ADD-PATH (RFC 7911): both routes are kept, and one that is taken back leaves the other."""
    bird = Bird(lab).start(
        routes4=[f"{THEIRS} bgp_path.prepend(65100);"], others4=[f"{THEIRS} bgp_community.add((65001, 7));"],
        channel="add paths tx;",
    )
    pop = start(lab, bird, addPath="true")
    wait_state(pop, bird, "Established")
    wait_until(lambda: received(pop, bird) == 2, what="both paths")
    (found,) = lab.show("why", THEIRS, "--json")
    assert found["reason"] == "shorter AS path"
    best, other = found["routes"]
    assert best["communities"] == ["65001:7"] and best["isBest"] and "lostBy" not in best
    assert other["asPath"] == f"{bird.number} 65100" and other["lostBy"] == "shorter AS path"
    assert best["pathIdentifier"] != other["pathIdentifier"]
    bird.ask("disable static2")
    wait_until(lambda: received(pop, bird) == 1, what="one path")
    (found,) = lab.show("why", THEIRS, "--json")
    assert found["reason"] == "the only route" and found["routes"][0]["asPath"].endswith("65100")


def test_messages_of_more_than_4096_octets(lab):
    """RFC 8654: a route with so many communities goes on to who takes such messages, and not to who does not."""
    many = " ".join(f"bgp_large_community.add((65001, 1, {number}));" for number in range(400))
    one = Bird(lab).start("enable extended messages on;", routes4=[f"{THEIRS} {many}", "192.0.2.128/25"])
    two = Bird(lab).start("enable extended messages on;")
    three = Bird(lab).start()
    pop = start(lab, one, two, three, transit="true")
    for bird in (one, two, three):
        wait_state(pop, bird, "Established")
        wait_until(bird.is_up)
    route = wait_until(lambda: two.route(THEIRS), what="the long route")
    assert route.count("(65001, 1, ") == 400
    wait_until(lambda: three.route("192.0.2.128/25"), what="the short route")
    assert three.route(THEIRS) is None and three.is_up()


def test_a_router_that_reads_nothing_is_given_up(lab):
    """RFC 9687: the frozen router's buffers are full, and its hold time, long as it is, would keep the PoP waiting."""
    routes = [f"20.{n >> 8}.{n & 255}.0/24 bgp_community.add((65001, {n}));" for n in range(20_000)]
    one = Bird(lab).start(routes4=routes)
    two = Bird(lab).start("hold time 240;")
    for space, name in ((lab.space, "tcp_wmem"), (two.space, "tcp_rmem")):
        run("ip", "netns", "exec", space, "sysctl", "-qw", f"net.ipv4.{name}=4096 16384 65536")
    entries = lab.neighbor(one) + lab.neighbor(two, transit="true", sendHoldTime="4s", holdTime="240s")
    pop = lab.start_pop(f"  neighbors:\n{entries}")
    wait_state(pop, two, "Established")
    wait_until(lambda: two.count() == 20_000, 30, "all routes at the other router")
    # A session with nothing to say is not stuck.
    time.sleep(5)
    assert states(pop, two)[-1] == ("Established", None)
    since = mark(pop)
    two.pause()
    one.ask("restart static1")
    assert "Send Hold Timer Expired" in wait_state(pop, two, "Idle", since, 30)
    # Who reads is not troubled by who does not.
    assert states(pop, one)[-1] == ("Established", None)
    two.resume()
    wait_state(pop, two, "Established", since, 30)
    wait_until(lambda: two.count() == 20_000, 30, "all routes again")


def test_only_our_own_routes_go_to_who_is_not_asked_to_carry_others(lab):
    one = Bird(lab).start(routes4=[THEIRS])
    two = Bird(lab).start()
    pop = start(lab, one, two)
    for bird in (one, two):
        wait_state(pop, bird, "Established")
        wait_until(lambda bird=bird: bird.route(OURS))
    time.sleep(0.5)
    assert two.route(THEIRS) is None and two.count() == 1


# ---- Graceful restart (RFC 4724)


def stale(lab, prefix):
    done = lab.ask("why", prefix, "--json")
    return done.returncode == 0 and json.loads(done.stdout)[0]["routes"][0]["isStale"]


def test_a_restarting_router_s_routes_are_kept_until_it_is_back(lab):
    pop, bird = up(lab, bird={"session": "graceful restart on;", "routes4": [THEIRS, "192.0.2.128/25"]}, restartTime="30s")
    wait_until(lambda: received(pop, bird) == 2)
    since = mark(pop)
    bird.kill()
    wait_state(pop, bird, "Idle", since)
    assert received(pop, bird) == 2 and stale(lab, THEIRS)
    # What it does not name again is gone with its End-of-RIB, and not before.
    text = bird.config.read_text()
    bird.config.write_text(text.replace("    route 192.0.2.128/25 blackhole;\n", ""))
    since = mark(pop)
    bird.start(fresh=False)
    wait_state(pop, bird, "Established", since)
    wait_until(lambda: received(pop, bird) == 1, what="the stale route's end")
    assert not stale(lab, THEIRS)


def test_a_router_that_does_not_come_back_is_forgotten_in_time(lab):
    pop, bird = up(lab, bird={"session": "graceful restart on; graceful restart time 3;"}, restartTime="30s")
    wait_until(lambda: received(pop, bird) == 1)
    bird.kill()
    time.sleep(1.5)
    assert received(pop, bird) == 1
    wait_until(lambda: received(pop, bird) == 0, 4, "the end of the restart time")


def test_a_pop_that_is_killed_and_back_is_not_forgotten(lab):
    pop, bird = up(lab, bird={"session": "graceful restart on;"}, restartTime="30s")
    wait_until(lambda: bird.route(OURS))
    pop.kill()
    time.sleep(1)
    assert bird.route(OURS), "BIRD keeps our route while we are away"
    pop.start()
    wait_state(pop, bird, "Established")
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert bird.route(OURS)
        time.sleep(0.05)
    assert "Graceful restart" in bird.ask("show protocols all pop")
    assert not re.search(r"stale|\(s\)", bird.ask(f"show route protocol pop for {OURS}"))


def test_a_pop_that_says_goodbye_is_forgotten_at_once(lab):
    """A stop is meant: no grace keeps the routes of a PoP that is being drained."""
    pop, bird = up(lab, bird={"session": "graceful restart on;"}, restartTime="30s")
    wait_until(lambda: bird.route(OURS))
    pop.stop()
    assert bird.route(OURS) is None


# ---- Who opens the connection, and how it is protected


def test_a_passive_router_and_a_passive_pop(lab):
    one = Bird(lab).start("passive;", routes4=[THEIRS])
    two = Bird(lab).start(routes4=["192.0.2.0/24"])
    entries = lab.neighbor(one) + lab.neighbor(two, passive="true")
    pop = lab.start_pop(f"  announce: [{OURS}]\n  neighbors:\n{entries}")
    for bird in (one, two):
        wait_state(pop, bird, "Established")
        wait_until(lambda bird=bird: bird.route(OURS))
    assert states(pop, two)[0][0] == "Active"


def test_connections_that_meet_leave_one_session(lab):
    """Both ends open connections as fast as they can, again and again."""
    pop, bird = up(lab)
    # Each time the PoP waits twice as long before it lets it come again: a session that flaps is damped.
    for _ in range(4):
        since = mark(pop)
        bird.ask("restart pop")
        wait_state(pop, bird, "Established", since)
    since = mark(pop)
    time.sleep(3)
    assert not states(pop, bird, since) and bird.is_up()


@pytest.mark.parametrize("passive", [False, True])
def test_signed_connections(lab, passive):
    key = lab.directory / "md5.key"
    key.write_text("a shared word")
    key.chmod(0o600)
    pop, bird = up(
        lab, bird={"routes4": [THEIRS], "session": 'password "a shared word";'}, passwordFile=key,
        passive=str(passive).lower(),
    )
    wait_until(lambda: bird.route(OURS) and received(pop, bird) == 1)


def test_a_connection_with_another_signature_does_not_come_up(lab):
    key = lab.directory / "md5.key"
    key.write_text("one word")
    key.chmod(0o600)
    bird = Bird(lab).start('password "another word";')
    pop = start(lab, bird, passwordFile=key)
    time.sleep(4)
    reached = {state for state, _ in states(pop, bird)}
    assert not reached & {"OpenSent", "OpenConfirm", "Established"}


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("passive", [False, True])
def test_ttl_security(lab, passive, six):
    channel = "ipv6" if six else "ipv4"
    bird = Bird(lab).start("ttl security on;", channels=channel, six=six)
    pop = start(
        lab, bird, announce=(f"'{OURS6}'" if six else OURS,), ttlSecurity="true", passive=str(passive).lower(),
        address=f"'{bird.address6}'" if six else bird.address,
    )
    wait_state(pop, bird, "Established")
    wait_until(lambda: bird.route(OURS6 if six else OURS))


def test_ttl_security_keeps_out_who_sends_with_an_ordinary_ttl(lab):
    bird = Bird(lab).start("ttl security off;")
    pop = start(lab, bird, ttlSecurity="true")
    time.sleep(4)
    assert "Established" not in {state for state, _ in states(pop, bird)}


def test_ttl_security_of_one_neighbor_beside_one_without(lab):
    """They share a listener: the one is answered with a TTL of 255, and the other is not asked for it."""
    near = Bird(lab).start("ttl security on;")
    far = Bird(lab).start("ttl security off;")
    entries = lab.neighbor(near, ttlSecurity="true", passive="true") + lab.neighbor(far, passive="true")
    pop = lab.start_pop(f"  announce: [{OURS}]\n  neighbors:\n{entries}")
    for bird in (near, far):
        wait_state(pop, bird, "Established")
        wait_until(lambda bird=bird: bird.route(OURS))


def test_a_wrong_as_is_refused(lab):
    bird = Bird(lab).start()
    pop = start(lab, bird, remoteAS=65099)
    wait_until(lambda: any("Bad Peer AS" in (cause or "") for _, cause in states(pop, bird)), what="the refusal")
    assert "Established" not in {state for state, _ in states(pop, bird)}
