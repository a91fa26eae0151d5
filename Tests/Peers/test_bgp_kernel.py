"""cbpop's routes in the kernel: what an earlier run has left, what others do to them, and ways over a link alone."""

import time

import pytest
from routers import Bird, Lab, need, run, wait_state
from test_bgp_edge import kernel, start

from conftest import wait_until

KERNEL = "  kernel:\n    on: true\n"


@pytest.fixture
def lab(tmp_path):
    need("bird", "birdc")
    lab = Lab(tmp_path)
    yield lab
    lab.close()


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
    began = time.monotonic()
    two.start(fresh=False)
    wait_state(pop, two, "Established")
    wait_until(lambda: set(kernel(lab, "proto", 203)) == {"203.0.113.0/24"}, 10, "the sweep")
    assert time.monotonic() - began < 15
    assert kernel(lab, "proto", 203)["203.0.113.0/24"] == {one.address, two.address}


def test_a_route_that_someone_takes_away_is_put_back(lab):
    bird = Bird(lab).start(routes4=["203.0.113.0/24"])
    pop = start(lab, bird, bgp=KERNEL)
    wait_until(lambda: kernel(lab, "proto", 203), what="the route")
    run("ip", "-n", lab.space, "route", "del", "203.0.113.0/24", "metric", 32)
    wait_until(lambda: kernel(lab, "proto", 203) == {"203.0.113.0/24": {bird.address}}, 1, "the route again")
    assert "another program changed our routes" in pop.log.text
