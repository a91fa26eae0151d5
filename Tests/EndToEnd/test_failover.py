"""What a client of an anycast address misses when the PoP that it is at dies, in each of the ways that a PoP can die."""

import anycast
import pytest

pytestmark = pytest.mark.skipif(anycast.missing() is not None, reason=f"NO FAILOVER LABORATORY: {anycast.missing()}")

# Most milliseconds without an answer. They tell what has noticed: without the one that a case is for, the hold timer would
# need at least 3,000. How fast each is, is measured by Benchmarks/failover.py.
AT_ONCE, BY_BFD, BY_HOLD_TIMER, BY_PROBES = 1_000, 1_000, 10_000, 3_000


def play(name, tmp_path, most, pop):
    result = anycast.play(name, tmp_path, pop)
    print(f"{name}, {pop.__name__}: {result}")
    assert result["recovered"], result
    assert result["gap"] <= most, result


CASES = [
    ("daemon killed", AT_ONCE),
    ("link down", AT_ONCE),
    ("link down behind a bridge", BY_BFD),
    ("silent black hole", BY_BFD),
    ("silent black hole, no BFD, hold time 3 s", BY_HOLD_TIMER),
    ("daemon killed, graceful restart, BFD", BY_BFD),
]


@pytest.mark.parametrize("name, most", CASES)
def test_the_laboratory_measures_bird_as_others_have(name, most, tmp_path):
    play(name, tmp_path, most, anycast.BirdPoP)


@pytest.mark.parametrize("name, most", CASES)
def test_a_pop_that_dies_is_noticed_by_what_the_case_is_for(name, most, tmp_path):
    play(name, tmp_path, most, anycast.CloudBridgePoP)


@pytest.mark.parametrize("name", ["service dead, daemon alive", "service dead, daemon alive, graceful restart"])
def test_a_dead_service_is_withdrawn(name, tmp_path):
    """When two probes in a row have had no answer."""
    play(name, tmp_path, BY_PROBES, anycast.CloudBridgePoP)


def test_nothing_but_a_health_check_sees_a_dead_service(tmp_path):
    """Why there is one: BIRD goes on announcing what nobody serves."""
    assert not anycast.play("service dead, daemon alive", tmp_path, anycast.BirdPoP)["recovered"]


@pytest.mark.parametrize("pop", [anycast.BirdPoP, anycast.CloudBridgePoP])
def test_a_drain_loses_nothing(pop, tmp_path):
    assert anycast.play("drain", tmp_path, pop)["lost"] == 0
