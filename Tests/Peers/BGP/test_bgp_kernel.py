"""cbpop's routes in the kernel: what an earlier run has left, what others do to them, and ways over a link alone."""

import json
import time

import pytest
from routers import Bird, mark, run, wait_state
from test_bgp_edge import kernel, start

from conftest import wait_until

KERNEL = "  kernel:\n    on: true\n"


def forget(bird, prefix):
    """BIRD's configuration loses a static route."""
    text = bird.config.read_text()
    bird.config.write_text(text.replace(f"    route {prefix} blackhole;\n", ""))


def test_what_an_earlier_run_left_goes_when_all_neighbors_have_told_their_routes(lab):
    one = Bird(lab).start(routes4=["203.0.113.0/24", "192.0.2.0/24"])
    two = Bird(lab).start(routes4=["203.0.113.0/24"])
    pop = start(lab, one, two, bgp=KERNEL)
    wait_until(lambda: len(kernel(lab, "proto", 203)) == 2, what="both routes")
    pop.kill()
    two.kill()
    forget(one, "192.0.2.0/24")
    one.ask("configure")
    pop.start()
    wait_state(pop, one, "Established")
    # The other may have it: it is waited for.
    time.sleep(3)
    assert set(kernel(lab, "proto", 203)) == {"203.0.113.0/24", "192.0.2.0/24"}
    two.start(fresh=False)
    wait_state(pop, two, "Established")
    # A minute is the most where nobody says that it has told all.
    wait_until(lambda: set(kernel(lab, "proto", 203)) == {"203.0.113.0/24"}, 10, "the sweep")
    assert kernel(lab, "proto", 203)["203.0.113.0/24"] == {one.address, two.address}


def test_a_route_that_someone_takes_away_is_put_back(lab):
    bird = Bird(lab).start(routes4=["203.0.113.0/24"])
    pop = start(lab, bird, bgp=KERNEL)
    wait_until(lambda: kernel(lab, "proto", 203), what="the route")
    run("ip", "-n", lab.space, "route", "del", "203.0.113.0/24", "metric", 32)
    wait_until(lambda: kernel(lab, "proto", 203) == {"203.0.113.0/24": {bird.address}}, 1, "the route again")
    assert "another program changed our routes" in pop.log.text


# ---- Ways over a link alone (RFC 2545)


def link_local(space, device):
    text = run("ip", "-j", "-6", "-n", space, "addr", "show", "dev", device, "scope", "link")
    # Addresses that the scope leaves out are there as empty objects.
    return [a["local"] for link in json.loads(text) for a in link.get("addr_info", []) if a][0]


def kernel6(lab):
    """Gateway and interface of each route of ours."""
    found = {}
    for route in json.loads(run("ip", "-j", "-6", "-n", lab.space, "route", "show", "proto", "203") or "[]"):
        found[route["dst"]] = {(hop.get("gateway"), hop.get("dev")) for hop in route.get("nexthops", [route])}
    return found


THEIRS6 = "2001:db8:200::/48"


def test_a_link_local_next_hop_beside_a_global_one(lab):
    """BIRD tells both; the kernel gets the one that needs no route to it."""
    bird = Bird(lab)
    # BIRD tells it only when the kernel has seen that nobody else has it.
    wait_until(lambda: "tentative" not in run("ip", "-6", "-n", bird.space, "addr", "show", "dev", "pop"), what="its address")
    bird.start(routes6=[THEIRS6], channels="ipv6", six=True)
    start(lab, bird, six=True, address=f"'{bird.address6}'", families="[ipv6]", bgp=KERNEL)
    want = {THEIRS6: {(link_local(bird.space, "pop"), f"to{bird.link}")}}
    wait_until(lambda: kernel6(lab) == want, what=f"{want}, not {kernel6(lab)}")
    (found,) = lab.show("why", THEIRS6, "--json")
    assert found["routes"][0]["nextHop"] == bird.address6


class LinkLocalBird(Bird):
    """A BIRD whose session is over the link-local addresses of both ends, the PoP's being fe80::1 on each link."""

    def __init__(self, lab):
        super().__init__(lab)
        run("ip", "-n", lab.space, "addr", "add", "fe80::1/64", "dev", f"to{self.link}", "nodad")
        run("ip", "-n", self.space, "addr", "add", "fe80::2/64", "dev", "pop", "nodad")
        self.address6, self.pop_address6 = "fe80::2%pop", "fe80::1%pop"

    def _write(self, *arguments):
        super()._write(*arguments)
        text = self.config.read_text()
        self.config.write_text(text.replace("local fe80::2%pop as", "local fe80::2 as").replace(
            "neighbor fe80::1%pop as", "interface \"pop\"; neighbor fe80::1 as"))


@pytest.mark.parametrize("passive", ["false", "true"])
def test_sessions_over_link_local_addresses(lab, passive):
    """Two neighbors of the same address, each on a link of its own."""
    one, two = [LinkLocalBird(lab).start(routes6=[THEIRS6], channels="ipv6", six=True) for _ in range(2)]
    entries = "".join(
        lab.neighbor(bird, address=f"'fe80::2%to{bird.link}'", passive=passive, localAddress="'fe80::1'") for bird in (one, two)
    )
    pop = lab.start_pop(f"  announce: ['2001:db8:100::/48']\n  shutdownDelay: 1s\n{KERNEL}  neighbors:\n{entries}")
    for bird in (one, two):
        wait_state(pop, bird, "Established")
    both = {("fe80::2", f"to{bird.link}") for bird in (one, two)}
    wait_until(lambda: kernel6(lab) == {THEIRS6: both}, what=f"both ways, not {kernel6(lab)}")
    for bird in (one, two):
        route = wait_until(lambda bird=bird: bird.route("2001:db8:100::/48"), what="our route")
        assert "fe80::1" in route, route
    since = mark(pop)
    run("ip", "-n", lab.space, "link", "set", f"to{two.link}", "down")
    assert "BFD Down" in wait_state(pop, two, "Idle", since, 3)
    wait_until(lambda: kernel6(lab) == {THEIRS6: {("fe80::2", f"to{one.link}")}}, 3, "the way that is left")


def test_a_link_local_neighbor_without_its_interface_is_refused(lab):
    bird = Bird(lab)
    with pytest.raises(AssertionError) as failure:
        lab.start_pop(f"  neighbors:\n{lab.neighbor(bird, address=repr('fe80::2'))}")
    assert "add its interface, as in fe80::2%eth0" in str(failure.value)
