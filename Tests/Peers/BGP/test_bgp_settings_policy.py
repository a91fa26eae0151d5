"""Policies in the PoP's settings: what is taken and given by them beside BIRD, and what an operator sees of it."""

import json
import signal
import subprocess

import pytest
from routers import POP_AS, Bird, ExaBGP, GoBGP, lines, mark, need, report, wait_state

from conftest import BIN, wait_until

OURS = "198.51.100.0/24"
ONE, TWO, THREE = "203.0.113.0/24", "192.0.2.0/24", "10.9.0.0/16"

POLICIES = """
prefixLists:
  bogons: [10.0.0.0/8 le 32]
policies:
  in:
    - name: no bogons
      if: {prefix: bogons}
      then: deny
    - name: preferred
      if: {prefix: 203.0.113.0/24}
      set: {localPreference: 300, addCommunities: [64512:7]}
      then: permit
    - name: rest
      then: permit
  out:
    - name: ours
      if: {local: true}
      set: {prepend: 64512 2}
      then: permit
    - name: one
      if: {prefix: 203.0.113.0/24}
      then: permit
"""


def start(lab, *entries, policies=POLICIES):
    file = lab.directory / "policy.yaml"
    if policies:
        file.write_text(policies)
    named = "  policyFile: policy.yaml\n" if policies else ""
    return lab.start_pop(f"{named}  announce: [{OURS}]\n  shutdownDelay: 0s\n  neighbors:\n{''.join(entries)}")


def why(lab, what):
    (found,) = lab.show("why", what, "--json")
    return found


def prefixes(lab):
    return {found["prefix"] for found in lab.show("routes", "--json")}


def order(lab, *words, check=True):
    command = [str(BIN / "cbpop"), "bgp", *words, "--socket", lab.socket]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if check:
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--json" in words else done.stdout
    return done


def test_a_policy_on_the_way_in_and_on_the_way_out(lab):
    one = Bird(lab).start(routes4=[ONE, TWO, THREE])
    two = Bird(lab).start()
    pop = start(lab, lab.neighbor(one, **{"import": "in"}), lab.neighbor(two, transit="true", export="out"))
    for bird in (one, two):
        wait_state(pop, bird, "Established")
    wait_until(lambda: report(pop)[one.name]["received"] == 3, what="all routes")
    view = report(pop)[one.name]
    assert (view["accepted"], view["denied"], view["importPolicy"], view["exportPolicy"]) == (2, 1, "in", "all")
    assert prefixes(lab) == {ONE, TWO, OURS}
    best = why(lab, ONE)["routes"][0]
    assert best["localPreference"] == 300 and best["communities"] == ["64512:7"]
    assert best["policy"] == 'in: rule "preferred" permits it'
    # A denied route is found, by its prefix and by an address in it, with the rule that denies it.
    for what in (THREE, "10.9.1.1"):
        found = why(lab, what)
        assert found["prefix"] == THREE and found["routes"] == []
        (denied,) = found["denied"]
        assert denied["policy"] == 'in: rule "no bogons" denies it' and denied["neighbor"] == one.name
    text = lab.show("why", THREE)
    assert f'x from {one.name} ({one.address})' in text and 'denied by in: rule "no bogons" denies it' in text
    head, row, _ = lab.show("neighbors").splitlines()
    assert dict(zip(head.split(), row.split()))["DENIED"] == "1" and "ROUTES" in head

    # On the way out: our own with the prepended path, one of the others' routes, and no other.
    route = wait_until(lambda: two.route(OURS), what="our route")
    assert f"BGP.as_path: {POP_AS} {POP_AS} {POP_AS}\n" in route
    assert "(64512,7)" in wait_until(lambda: two.route(ONE), what="the route that may pass")
    assert two.route(TWO) is None and two.count() == 2
    wait_until(lambda: one.route(OURS), what="our route where no policy is")

    # What is withdrawn is gone, denied or not.
    one.ask("disable static1")
    wait_until(lambda: report(pop)[one.name]["received"] == 0, what="the withdrawal")
    assert "no route to" in lab.ask("why", THREE).stderr


def test_an_external_neighbor_without_a_word(lab):
    """RFC 8212, and what is said of it. An internal one is taken at its word."""
    one = Bird(lab).start(routes4=[ONE])
    two = Bird(lab, POP_AS).start(routes4=[TWO])
    bare = {"import": None, "export": None}
    pop = start(lab, lab.neighbor(one, transit="true", **bare), lab.neighbor(two, **bare), policies=None)
    for bird in (one, two):
        wait_state(pop, bird, "Established")
    wait_until(lambda: prefixes(lab) == {OURS, TWO}, what="the internal routes alone")
    wait_until(lambda: one.route(OURS), what="our own")
    assert one.count() == 1
    said = lines(pop, "no policy")
    assert [(fields["neighbor"], fields["write"].split(",")[0]) for fields in said] == [
        (one.name, "import: all"),
        (one.name, "export: all"),
    ]
    view = report(pop)[one.name]
    assert (view["received"], view["takesNothing"]) == (0, True) and "RFC 8212" in view["importPolicy"]
    refused = lab.ask("why", ONE).stderr
    assert f"no route to {ONE}" in refused and one.name in refused and "RFC 8212" in refused
    row = lab.show("neighbors").splitlines()[1]
    assert " all " in row


def test_none_is_none(lab):
    bird = Bird(lab).start(routes4=[ONE])
    pop = start(lab, lab.neighbor(bird, **{"import": "none", "export": "none"}), policies=None)
    wait_state(pop, bird, "Established")
    wait_until(lambda: report(pop)[bird.name]["session"]["complete"], what="all of it")
    assert prefixes(lab) == {OURS} and bird.count() == 0 and lines(pop, "no policy") == []
    assert "(import: none)" in lab.ask("why", ONE).stderr


def settings_error(lab, policies, **settings):
    bird = Bird(lab)
    with pytest.raises(AssertionError):
        start(lab, lab.neighbor(bird, **settings), policies=policies)
    wait_until(lambda: lab.pop.process.poll() is not None, what="the end")
    assert lab.pop.process.returncode == 7
    return lab.pop.log.text


@pytest.fixture
def short(monkeypatch):
    """A PoP that does not start is not waited for."""
    from conftest import Lines

    original = Lines.wait_for
    monkeypatch.setattr(Lines, "wait_for", lambda self, pattern, timeout=5, start=0: original(self, pattern, timeout, start))


def test_a_policy_that_is_not_there(lab, short):
    said = settings_error(lab, POLICIES, **{"import": "inn"})
    assert "bgp.neighbors[0].import: " in said and "policy.yaml has no policy 'inn'; it has in, out" in said


def test_a_policy_without_a_file(lab, short):
    said = settings_error(lab, None, export="out")
    assert "bgp.neighbors[0].export: 'out' is to be a policy, but bgp.policyFile names no file" in said


def test_a_file_that_is_wrong(lab, short):
    said = settings_error(lab, "policies:\n  in:\n    - then: perhaps\n", **{"import": "in"})
    assert 'policy.yaml:3: "perhaps", character 1: no verdict; write permit or deny' in said


def test_a_reload(lab):
    """By order and by SIGHUP: what was taken and told is put right, and no neighbor is asked or notices."""
    one = Bird(lab).start(routes4=[ONE, TWO, THREE])
    two = Bird(lab).start()
    pop = start(lab, lab.neighbor(one, **{"import": "in"}), lab.neighbor(two, transit="true", export="out"))
    for bird in (one, two):
        wait_state(pop, bird, "Established")
    wait_until(lambda: two.count() == 2 and report(pop)[one.name]["received"] == 3, what="the first policy's routes")
    file = lab.directory / "policy.yaml"
    changes = {view["neighbor"]: view["change"] for view in order(lab, "reload", "--json")}
    assert changes == {one.name: "unchanged", two.name: "unchanged"}

    file.write_text(POLICIES.replace("10.0.0.0/8 le 32", "192.0.2.0/24").replace("preferred", "liked").replace("300", "50"))
    changes = {view["neighbor"]: view["change"] for view in order(lab, "reload", "--json")}
    assert changes == {one.name: "judged anew", two.name: "unchanged"}
    wait_until(lambda: prefixes(lab) == {ONE, THREE, OURS}, what="the other routes")
    assert why(lab, ONE)["routes"][0]["localPreference"] == 50
    assert why(lab, TWO)["denied"][0]["policy"] == 'in: rule "no bogons" denies it'

    file.write_text(POLICIES.replace("prepend: 64512 2", "prepend: 64512 1").replace("if: {prefix: 203.0.113.0/24}\n      then", "if: {prefix: 192.0.2.0/24}\n      then"))
    pop.process.send_signal(signal.SIGHUP)
    wait_until(lambda: two.route(TWO) and two.route(ONE) is None, what="the other routes at the other router")
    wait_until(lambda: f"{POP_AS} {POP_AS}\n" in two.route(OURS), what="a shorter path")
    assert why(lab, ONE)["routes"][0]["localPreference"] == 300

    # One that is wrong changes nothing, and is said both here and there.
    for text, reason in [("policies: {in: []}\n", "has no policy 'out'; it has in"), ("nonsense: 1\n", "is unknown"), (None, "no such file")]:
        file.write_text(text) if text else file.unlink()
        done = order(lab, "reload", check=False)
        assert done.returncode == 1 and "the policies stay as they are" in done.stderr and reason in done.stderr.lower()
    since = mark(pop)
    pop.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "policies not reloaded" in pop.log.text[since:], what="the same in the log")
    assert prefixes(lab) == {ONE, TWO, OURS} and two.count() == 2
    # Neither has been asked, nor has had to begin anew.
    for bird in (one, two):
        assert [cause for cause in lines(pop, "BGP state") if cause["neighbor"] == bird.name][-1]["to"] == "Established"


def test_a_refresh(lab):
    """BIRD marks where its answer begins and ends (RFC 7313), GoBGP does not: both send all again."""
    bird = Bird(lab).start(routes4=[ONE, TWO])
    pop = start(lab, lab.neighbor(bird), policies=None)
    wait_state(pop, bird, "Established")
    wait_until(lambda: report(pop)[bird.name]["received"] == 2, what="the routes")
    before = report(pop)[bird.name]["updatesReceived"]
    (answer,) = order(lab, "refresh", bird.name, "--json")
    assert answer == {"neighbor": bird.name, "families": ["IPv4 unicast"]}
    wait_until(lambda: report(pop)[bird.name]["updatesReceived"] > before, what="the routes again")
    assert prefixes(lab) == {ONE, TWO, OURS}
    done = order(lab, "refresh", "nobody", check=False)
    assert done.returncode == 1 and "no neighbor is called nobody" in done.stderr
    bird.kill()
    wait_until(lambda: report(pop)[bird.name]["state"] != "Established", what="the end")
    done = order(lab, "refresh", bird.name, check=False)
    assert done.returncode == 1 and "there is no session to ask on" in done.stderr


def test_gobgp_is_asked_again(lab):
    need("gobgpd", "gobgp")
    router = GoBGP(lab).start()
    pop = start(lab, lab.neighbor(router, **{"import": "in"}))
    wait_state(pop, router, "Established")
    for prefix in (ONE, THREE):
        router.add(prefix)
    wait_until(lambda: report(pop)[router.name]["received"] == 2, what="the routes")
    before = report(pop)[router.name]["updatesReceived"]
    order(lab, "refresh", router.name)
    wait_until(lambda: report(pop)[router.name]["updatesReceived"] > before, what="the routes again")
    view = report(pop)[router.name]
    assert (view["accepted"], view["denied"], view["state"]) == (1, 1, "Established")


def test_a_neighbor_that_cannot_be_asked(lab):
    """ExaBGP with route refresh switched off; and a policy that kept nothing of it gives way to one that takes all."""
    need("exabgp")
    router = ExaBGP(lab)
    nothing = POLICIES.replace("policies:\n", "policies:\n  nothing: []\n")
    router.start(routes=[f"{ONE} next-hop {router.address}"], refresh=False)
    pop = start(lab, lab.neighbor(router, **{"import": "nothing"}), policies=nothing)
    wait_state(pop, router, "Established")
    done = order(lab, "refresh", router.name, check=False)
    assert done.returncode == 1 and "it has not offered route refresh (RFC 2918)" in done.stderr
    (lab.directory / "policy.yaml").write_text(nothing.replace("nothing: []", "nothing: [{then: permit}]"))
    (answer,) = order(lab, "reload", "--json")
    assert answer["change"] == "cannot be asked" and "RFC 2918" in answer["reason"]


def test_a_policy_that_kept_nothing_has_the_neighbor_asked(lab):
    bird = Bird(lab).start(routes4=[ONE])
    nothing = "policies: {in: []}\n"
    pop = start(lab, lab.neighbor(bird, **{"import": "in"}), policies=nothing)
    wait_state(pop, bird, "Established")
    wait_until(lambda: report(pop)[bird.name]["session"]["complete"], what="all of it")
    assert prefixes(lab) == {OURS}
    (lab.directory / "policy.yaml").write_text(POLICIES)
    (answer,) = order(lab, "reload", "--json")
    assert answer["change"] == "asked again"
    wait_until(lambda: prefixes(lab) == {ONE, OURS}, what="its routes")
