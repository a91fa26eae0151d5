"""Origin validation: cbpop beside BIRD, with StayRTR as its validating cache."""

import json
import time

import pytest
from routers import Bird, Router, lines, mark, need, report, wait_state
from test_bgp_settings_policy import order, prefixes, why

from conftest import wait_until

OURS = "198.51.100.0/24"
GOOD, BAD, UNKNOWN, SIX = "203.0.113.0/24", "203.0.114.0/24", "192.0.2.0/24", "2001:db8:200::/48"

POLICIES = """
policies:
  rpki:
    - {name: no hijacks, if: {originValidity: invalid}, then: deny}
    - {name: known, if: {originValidity: valid}, set: {localPreference: 200}, then: permit}
    - {name: rest, then: permit}
"""


class StayRTR(Router):
    """A cache in a namespace of its own; it reads its file again each second."""

    program = "stayrtr"
    port = 8282
    second = 0

    def start(self, *payloads, version=1):
        self.write(*payloads)
        self.spawn_it(version)
        return self

    def spawn_it(self, version=1):
        # Its session's number comes of the second in which it starts: one that is back within it would have the session
        # and the serial of before, and other data.
        wait_until(lambda: time.time() >= self.second + 2, what="another second")
        self.second = int(time.time())
        self.spawn(
            "stayrtr", "-bind", f"{self.address}:{self.port}", "-cache", self.file, "-checktime=false", "-refresh", 1,
            "-metrics.addr", "", "-protocol", version, "-rtr.refresh", 5, "-rtr.retry", 2, "-rtr.expire", 600,
        )  # fmt: skip

    def write(self, *payloads):
        """Each payload is a prefix, the longest length and an AS."""
        self.file = self.directory / "vrps.json"
        roas = [{"prefix": prefix, "maxLength": length, "asn": f"AS{number}", "ta": "test"} for prefix, length, number in payloads]
        whole = self.directory / "new.json"
        whole.write_text(json.dumps({"metadata": {"buildtime": "2026-01-01T00:00:00Z"}, "roas": roas}))
        whole.rename(self.file)

    def entry(self):
        return f"      - {{address: {self.address}, port: {self.port}}}\n"


@pytest.fixture
def lab(lab):
    need("stayrtr")
    return lab


def start(lab, bird, *caches, **settings):
    (lab.directory / "policy.yaml").write_text(POLICIES)
    entry = lab.neighbor(bird, **({"import": "rpki"} | settings))
    entries = "".join(cache.entry() for cache in caches)
    pop = lab.start_pop(
        f"  policyFile: policy.yaml\n  announce: [{OURS}]\n  shutdownDelay: 0s\n"
        f"  rpki:\n    caches:\n{entries}  neighbors:\n{entry}"
    )
    wait_state(pop, bird, "Established")
    return pop


def caches(lab):
    return lab.show("rpki", "--json")


def synchronized(lab, number=0, payloads=None):
    def there():
        cache = caches(lab)[number]
        return cache["state"] == "synchronized" and payloads in (None, cache["payloads"]) and cache

    return wait_until(there, 30, "the cache's data")


def test_valid_is_taken_and_invalid_is_not(lab):
    bird = Bird(lab).start(routes4=[GOOD, BAD, UNKNOWN])
    cache = StayRTR(lab).start((GOOD, 24, bird.number), ("203.0.114.0/23", 23, bird.number))
    pop = start(lab, bird, cache)
    view = synchronized(lab)
    assert view["payloads"] == 2 and view["isUsed"] and view["address"] == f"{cache.address}:{cache.port}"
    assert view["age"] <= 5 and 0 < view["expiresIn"] <= 600 and view["version"] == 1
    wait_until(lambda: prefixes(lab) == {OURS, GOOD, UNKNOWN}, what="all but the invalid one")
    assert [(why(lab, p)["routes"][0]["originValidity"], why(lab, p)["routes"][0].get("localPreference")) for p in (GOOD, UNKNOWN)] == [
        ("valid", 200),
        ("not found", None),
    ]
    (denied,) = why(lab, BAD)["denied"]
    assert denied["originValidity"] == "invalid" and denied["policy"] == 'rpki: rule "no hijacks" denies it'
    assert "origin validity: invalid" in lab.show("why", BAD)
    assert any(line.endswith("(valid)") for line in lab.show("routes").splitlines())
    row = lab.show("rpki").splitlines()[1].split()
    assert row[:3] == ["*", view["address"], "synchronized"] and row[3] == "2"
    assert (report(pop)[bird.name]["accepted"], report(pop)[bird.name]["denied"]) == (2, 1)


def test_a_payload_that_comes_later(lab):
    """A taken route becomes invalid and goes, and comes again with its payload; nobody asks BIRD for anything."""
    bird = Bird(lab).start(routes4=[GOOD, UNKNOWN], routes6=[SIX], channels="ipv4 ipv6", channel="")
    cache = StayRTR(lab).start(("10.0.0.0/8", 8, 1))
    pop = start(lab, bird, cache, families="[ipv4, ipv6]", nextHops=f"[{bird.pop_address6}]")
    synchronized(lab)
    wait_until(lambda: prefixes(lab) == {OURS, GOOD, UNKNOWN, SIX}, what="all routes")
    updates = report(pop)[bird.name]["updatesReceived"]
    first = caches(lab)[0]["serial"]
    cache.write(("10.0.0.0/8", 8, 1), ("203.0.112.0/20", 24, 7), ("2001:db8::/32", 48, 7))
    wait_until(lambda: prefixes(lab) == {OURS, UNKNOWN}, 30, "the invalid ones gone")
    assert caches(lab)[0]["serial"] != first and caches(lab)[0]["payloads"] == 3
    cache.write(("203.0.112.0/20", 24, 7), ("203.0.112.0/20", 24, bird.number))
    wait_until(lambda: prefixes(lab) == {OURS, GOOD, UNKNOWN, SIX}, 30, "both again")
    assert why(lab, GOOD)["routes"][0]["localPreference"] == 200
    assert report(pop)[bird.name]["updatesReceived"] == updates


def test_a_cache_that_dies_and_comes_back(lab):
    bird = Bird(lab).start(routes4=[GOOD, BAD])
    cache = StayRTR(lab).start((BAD, 24, 7))
    pop = start(lab, bird, cache)
    synchronized(lab)
    wait_until(lambda: prefixes(lab) == {OURS, GOOD}, what="the valid one alone")
    since = mark(pop)
    cache.kill()
    view = wait_until(lambda: caches(lab)[0]["state"] != "synchronized" and caches(lab)[0], what="the loss")
    assert view["isUsed"] and view["payloads"] == 1 and view["expiresIn"] > 0 and view["lastFailure"]
    wait_until(lambda: lines(pop, "RPKI cache", since), what="a line about it")
    # Its data count on (RFC 8210 §6), also for what comes anew.
    order(lab, "refresh", bird.name)
    bird.ask("restart static1")
    wait_until(lambda: report(pop)[bird.name]["received"] == 2, what="the routes again")
    assert prefixes(lab) == {OURS, GOOD}
    cache.write((BAD, 24, 7), (GOOD, 24, 8))
    cache.spawn_it()
    synchronized(lab, payloads=2)
    wait_until(lambda: prefixes(lab) == {OURS}, what="what the cache says now")


def test_the_next_cache(lab):
    """RFC 8210 §10: the second is asked when the first is gone, and left when that is back."""
    bird = Bird(lab).start(routes4=[GOOD, BAD])
    one = StayRTR(lab).start((BAD, 24, 7))
    two = StayRTR(lab).start((GOOD, 24, 7), (BAD, 24, 7))
    start(lab, bird, one, two)
    synchronized(lab)
    wait_until(lambda: prefixes(lab) == {OURS, GOOD}, what="what the first says")
    assert [cache["state"] for cache in caches(lab)] == ["synchronized", "stopped"]
    one.kill()
    synchronized(lab, 1)
    assert [cache["isUsed"] for cache in caches(lab)] == [False, True]
    wait_until(lambda: prefixes(lab) == {OURS}, what="what the second says")
    one.spawn_it()
    wait_until(lambda: [cache["state"] for cache in caches(lab)] == ["synchronized", "stopped"], 30, "the first again")
    wait_until(lambda: prefixes(lab) == {OURS, GOOD}, what="what the first says")


@pytest.mark.parametrize("version", [0, 2])
def test_other_versions(lab, version):
    bird = Bird(lab).start(routes4=[GOOD, BAD])
    cache = StayRTR(lab).start((BAD, 24, 7), version=version)
    start(lab, bird, cache)
    assert synchronized(lab)["version"] == min(version, 1)
    wait_until(lambda: prefixes(lab) == {OURS, GOOD}, what="the valid one alone")


def test_a_cache_that_is_none(lab):
    """Something else listens there: it is said, and tried again, and routes are judged as not found."""
    bird = Bird(lab).start(routes4=[GOOD])
    cache = StayRTR(lab)
    script = "import socket\ns = socket.create_server(('%s', 8282))\nwhile True:\n    c, _ = s.accept()\n    c.sendall(b'HTTP/1.1 400 Bad Request\\r\\n\\r\\n')\n"
    cache.spawn("python3", "-c", script % cache.address)
    pop = start(lab, bird, cache)
    wait_until(lambda: caches(lab)[0].get("lastFailure"), 20, "what is wrong")
    wait_until(lambda: prefixes(lab) == {OURS, GOOD}, what="the route")
    assert why(lab, GOOD)["routes"][0]["originValidity"] == "not found"
    assert len(lines(pop, "RPKI cache")) >= 1


def test_without_caches(lab):
    bird = Bird(lab).start(routes4=[GOOD])
    pop = lab.start_pop(f"  neighbors:\n{lab.neighbor(bird)}")
    wait_state(pop, bird, "Established")
    assert "bgp.rpki.caches is empty" in lab.ask("rpki").stderr
    wait_until(lambda: prefixes(lab) == {GOOD}, what="the route")
    assert "originValidity" not in why(lab, GOOD)["routes"][0]
