"""cbpop beside several routers at once: all capabilities together, many routes from all of them, flaps, and its own restarts."""

import re
import time

from routers import Bird, ExaBGP, GoBGP, mark, need, received, report, states, wait_state
from speaker import END_OF_RIB, Speaker, update

from conftest import wait_until

OURS = "198.51.100.0/24"
THEIRS = "203.0.113.0/24"
EACH = 50_000


def start(lab, *entries):
    return lab.start_pop(f"  announce: [{OURS}]\n  shutdownDelay: 1s\n  neighbors:\n{''.join(entries)}")


def memory(pop):
    """Octets that the PoP has resident."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", open(f"/proc/{pop.process.pid}/status").read())[1]) << 10


def test_all_capabilities_at_once(lab):
    """Two families, several paths, graceful restart, roles, long messages and refreshes on one session, and the same session
    again after either end was killed."""
    many = " ".join(f"bgp_large_community.add((65001, 1, {number}));" for number in range(400))
    bird = Bird(lab).start(
        "enable extended messages on; graceful restart on; local role provider; require roles on;", channels="ipv4 ipv6",
        routes4=[f"{THEIRS} bgp_path.prepend(65100);"], others4=[f"{THEIRS} {many}"], routes6=["2001:db8:200::/48"],
        channel="add paths tx;",
    )
    pop = start(lab, lab.neighbor(
        bird, families="[ipv4, ipv6]", nextHops=f"['{bird.pop_address6}']", addPath="true", restartTime="60s", role="provider",
    ))

    def is_whole():
        return received(pop, bird) == 3 and bird.route(OURS)

    wait_until(is_whole, what="all routes")
    session = report(pop)[bird.name]["session"]
    assert sorted(session["complete"]) == ["IPv4 unicast", "IPv6 unicast"]
    assert {"extended messages", "graceful restart", "role", "enhanced route refresh", "several paths for IPv4 unicast"} <= set(
        session["capabilities"])
    best, other = lab.show("why", THEIRS, "--json")[0]["routes"]
    assert {len(best["largeCommunities"]), len(other["largeCommunities"])} == {0, 400}
    # RFC 9234 §5: of a provider's route the mark says whom it is for.
    assert best["onlyToCustomer"] == bird.number
    bird.ask("reload out pop")
    time.sleep(0.5)
    assert is_whole()
    since = mark(pop)
    bird.kill()
    wait_state(pop, bird, "Idle", since)
    assert received(pop, bird) == 3
    since = mark(pop)
    bird.start(fresh=False)
    wait_state(pop, bird, "Established", since, 30)
    wait_until(lambda: is_whole() and len(report(pop)[bird.name]["session"]["complete"]) == 2, what="the end of the restart")
    pop.kill()
    assert bird.route(OURS)
    pop.start()
    wait_until(is_whole, 30, "all routes after our restart")
    assert not states(pop, bird)[-1][1]


def test_all_capabilities_of_gobgp_and_exabgp(lab):
    need("gobgpd", "gobgp", "exabgp")
    go = GoBGP(lab).start(families=("ipv4-unicast", "ipv6-unicast"), everything=True)
    exa = ExaBGP(lab).start(
        [f"{THEIRS} next-hop self path-information 0.0.0.1 as-path [65002 65100]",
         f"{THEIRS} next-hop self path-information 0.0.0.2"],
        families=("ipv4 unicast", "ipv6 unicast"),
        capabilities="graceful-restart 60; add-path send/receive; asn4 enable; extended-message enable;",
    )
    go.add("192.0.2.0/25")
    go.add("2001:db8:200::/48", family="ipv6")
    pop = start(lab, *(
        lab.neighbor(
            router, families="[ipv4, ipv6]", nextHops=f"['{router.pop_address6}']", addPath="true", restartTime="60s",
        ) for router in (go, exa)
    ))
    for router in (go, exa):
        wait_until(lambda router=router: received(pop, router) == 2, 30, f"the routes of {router.name}")
        session = report(pop)[router.name]["session"]
        assert {"graceful restart", "several paths for IPv4 unicast"} <= set(session["capabilities"])
        wait_until(lambda router=router: len(report(pop)[router.name]["session"]["complete"]) == 2, 20, "both End-of-RIBs")
    wait_until(lambda: go.route(OURS) and exa.announced(OURS), 20, "our route at both")
    # One that is killed is waited for, and what it had stays.
    since = mark(pop)
    exa.kill()
    wait_state(pop, exa, "Idle", since)
    assert received(pop, exa) == 2
    assert states(pop, go)[-1] == ("Established", None)


def block(speaker, number):
    """50,000 routes of a speaker's own in UPDATE messages of 500, each with its own attributes."""
    messages = []
    for at in range(0, EACH, 500):
        routes = [f"{20 + number}.{n >> 8}.{n & 255}.0/24" for n in range(at, at + 500)]
        messages.append(update(routes, speaker.address, [speaker.number, 65100 + at // 500], community=at))
    return b"".join(messages) + END_OF_RIB


def test_four_that_send_fifty_thousand_routes_each_and_leave(lab):
    speakers = [Speaker(lab) for _ in range(4)]
    pop = start(lab, *(lab.neighbor(speaker, passive="true", holdTime="90s", transit="true") for speaker in speakers))
    blocks = [block(speaker, number) for number, speaker in enumerate(speakers)]
    empty = memory(pop)
    marks = []
    for _ in range(3):
        for speaker in speakers:
            speaker.connect(hold=90)
            speaker.socket.settimeout(120)
        for speaker, octets in zip(speakers, blocks, strict=True):
            speaker.send(octets)
        wait_until(lambda: all(received(pop, speaker) == EACH for speaker in speakers), 120, "all routes")
        wait_until(lambda: all(report(pop)[s.name]["advertised"] == 3 * EACH + 1 for s in speakers), 120, "all of it passed on")
        full = memory(pop)
        for speaker in speakers:
            speaker.close()
        wait_until(lambda: all(received(pop, speaker) == 0 for speaker in speakers), 60, "the end of the routes")
        marks.append((full, memory(pop)))
    print(f"{empty >> 20} MB empty; " + ", ".join(f"{full >> 20} MB full and {after >> 20} MB after" for full, after in marks))
    # What was once needed is used again, and not added to.
    assert marks[2][0] - marks[0][0] < 16 << 20 and marks[2][1] - marks[0][1] < 16 << 20
    assert pop.process.poll() is None


def test_routers_that_flap_twenty_times(lab):
    """Four that come and go five times each: held off longer and longer, taken back, and nothing of it left behind."""
    bird = Bird(lab).start(routes4=[THEIRS, "192.0.2.0/25"])
    speakers = [Speaker(lab) for _ in range(4)]
    flapping = [lab.neighbor(speaker, passive="true", transit="true") for speaker in speakers]
    pop = start(lab, lab.neighbor(bird, transit="true"), *flapping)
    wait_until(lambda: received(pop, bird) == 2)
    routes = {speaker: f"192.0.2.{128 + 8 * number}/29" for number, speaker in enumerate(speakers)}
    marks = []
    for number in range(5):
        for speaker in speakers:
            speaker.connect(patience=40)
            speaker.send(update([routes[speaker]], speaker.address, [speaker.number]) + END_OF_RIB)
        wait_until(lambda: all(map(bird.route, routes.values())), 10, f"the routes of flap {number}")
        for speaker in speakers:
            speaker.close()
        wait_until(lambda: not any(map(bird.route, routes.values())), 10, f"the end of flap {number}")
        marks.append(memory(pop))
    assert marks[4] - marks[0] < 4 << 20
    assert states(pop, bird)[-1] == ("Established", None) and received(pop, bird) == 2


def test_the_pop_restarts_under_all_of_them(lab):
    """BIRD, GoBGP and ExaBGP, and a PoP that is killed and is back five times: each has the route again, and we theirs."""
    need("gobgpd", "gobgp", "exabgp")
    bird = Bird(lab).start(routes4=[THEIRS])
    go = GoBGP(lab).start()
    go.add("192.0.2.0/25")
    exa = ExaBGP(lab).start(["192.0.2.128/25 next-hop self"])
    routers = (bird, go, exa)
    pop = start(lab, *(lab.neighbor(router) for router in routers))

    def all_is_well():
        return all(received(pop, router) == 1 for router in routers) and bird.route(OURS) and go.route(OURS) and exa.announced(OURS)

    wait_until(all_is_well, 30, "all routes")
    for number in range(5):
        pop.kill()
        wait_until(lambda: bird.route(OURS) is None, 5, "the withdrawal")
        pop.start()
        wait_until(all_is_well, 40, f"all routes after restart {number}")
