"""What neighbors hear of the PoP's health: state by group, MED and communities, hooks, and goodbyes. Beside BIRD."""

import json
import re
import time

import pytest
from routers import POP_AS, Bird, run, wait_state

from conftest import wait_until

OURS = "198.51.100.0/24"
WEB = "203.0.113.0/24"


def start(lab, *routers, bgp, **settings):
    entries = "".join(lab.neighbor(router, **settings) for router in routers)
    pop = lab.start_pop(f"{bgp}  shutdownDelay: 1s\n  neighbors:\n{entries}")
    for router in routers:
        wait_state(pop, router, "Established")
    return pop


def med(bird, prefix):
    """The MED of our route at BIRD; None without one, or without a route."""
    found = re.search(r"BGP.med: (\d+)", bird.route(prefix) or "")
    return found and int(found[1])


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_groups_hang_on_checks_of_their_own(lab):
    """One is withdrawn, the other goes on with another MED and other communities, and the third does not care."""
    bird = Bird(lab).start()
    app = lab.directory / "app-is-well"
    app.touch()
    check = script(lab.directory / "check", f"test -e {app}")
    pop = start(
        lab, bird, bgp=f"""  announce: [192.0.2.0/24]
  announcements:
    - name: gone
      prefixes: [{OURS}]
      checks: [listeners, app]
    - name: lesser
      prefixes: [{WEB}]
      checks: [app]
      onFailure: med
      medUp: 100
      medDrained: 900
      communitiesUp: ["65000:1"]
      communitiesDrained: ["65000:9", "65000:7:7"]
    - name: other
      prefixes: [198.51.101.0/24]
      checks: [listeners]
  health:
    recoveryDelay: 500ms
    commands:
      - name: app
        command: [{check}]
        interval: 200ms
""",
    )
    wait_until(lambda: bird.count() == 4, what="all four")
    wait_until(lambda: med(bird, WEB) == 100 and "(65000,1)" in bird.route(WEB), what="MED and community")
    assert med(bird, OURS) is None
    app.unlink()
    wait_until(lambda: bird.route(OURS) is None, 5, "the withdrawal")
    assert bird.route("192.0.2.0/24") is None, "the short form hangs on all checks"
    wait_until(lambda: med(bird, WEB) == 900, 5, "the other MED")
    route = bird.route(WEB)
    assert "(65000,9)" in route and "(65000, 7, 7)" in route and "(65000,1)" not in route
    assert bird.route("198.51.101.0/24")
    app.touch()
    wait_until(lambda: bird.count() == 4 and med(bird, WEB) == 100, 5, "all as before")
    assert bird.is_up()
    pop.stop()


def test_a_drained_group_may_stay_as_the_last_choice(lab):
    bird = Bird(lab).start()
    drain = lab.directory / "drain"
    start(
        lab, bird, bgp=f"""  announcements:
    - name: web
      prefixes: [{WEB}]
      onFailure: med
      medUp: 100
      medDrained: 1000
  health:
    drainFile: {drain}
""",
    )
    wait_until(lambda: med(bird, WEB) == 100, what="our route")
    for _ in range(4):
        # No fall, however often.
        drain.touch()
        wait_until(lambda: med(bird, WEB) == 1000, 3, "the MED of the drained")
        drain.unlink()
        wait_until(lambda: med(bird, WEB) == 100, 3, "the MED as before")


def health(lab):
    return {view["name"]: view for view in lab.show("health", "--json")}


def test_why_a_prefix_is_not_announced_is_seen_at_once(lab):
    bird = Bird(lab).start()
    app, drain = lab.directory / "app-is-well", lab.directory / "drain"
    app.touch()
    check = script(lab.directory / "check", f"test -e {app} || exit 3")
    pop = start(
        lab, bird, bgp=f"""  announce: [192.0.2.0/24]
  announcements:
    - name: web
      prefixes: [{OURS}]
      checks: [app, load]
    - name: lesser
      prefixes: [{WEB}]
      checks: [app, drain]
      onFailure: med
      medUp: 100
      medDrained: 900
  health:
    recoveryDelay: 500ms
    maximumFalls: 3
    drainFile: {drain}
    load: {{memoryHigh: 100, connectionsHigh: 80, connectionsLow: 60}}
    commands:
      - name: app
        command: [{check}]
        interval: 200ms
""",
    )
    wait_until(lambda: bird.count() == 3, what="all three")
    views = health(lab)
    assert list(views) == ["announce", "web", "lesser"]
    assert all(view["state"] == "up" and view["reason"] == "all is well" and view["isAnnounced"] for view in views.values())
    assert views["lesser"]["med"] == 100 and views["web"]["prefixes"] == [OURS] and views["web"]["falls"] == 0
    checks = {check["name"]: check for check in views["announce"]["checks"]}
    listeners = [check["last"] for name, check in checks.items() if name.startswith(f"QUIC 127.0.0.1:{pop.quic_port}")]
    assert listeners and set(listeners) == {"a handshake"} and len(checks) == len(listeners) + 3
    assert all(check["isHealthy"] and check["isLastGood"] for check in checks.values())
    assert checks["app"]["last"] == "exit status 0" and checks["drain"]["last"] == f"{drain} is not there"
    assert re.fullmatch(
        r"memory \d+ %, too high from 100 % on; connections 0 %, too high from 80 % on", checks["load"]["last"])
    assert [check["name"] for check in views["web"]["checks"]] == ["load", "app"]

    app.unlink()
    wait_until(lambda: health(lab)["web"]["state"] == "down", 5, "web down")
    views = health(lab)
    assert views["web"]["reason"] == "unhealthy: app" and not views["web"]["isAnnounced"] and views["web"]["falls"] == 1
    (failing,) = [check for check in views["web"]["checks"] if not check["isHealthy"]]
    assert failing["last"] == "exit status 3" and failing["effect"] == "withdraws" and failing["needed"] == 3
    assert views["lesser"]["isAnnounced"] and views["lesser"]["med"] == 900
    text = lab.show("health")
    assert re.search(rf"^web is down for 00:00:\d\d: unhealthy: app\n    NOT announced: {OURS}\n    falls: 1 in 60 s", text, re.M)
    assert re.search(r"^  x app +withdraws  UNHEALTHY for 00:00:\d\d +exit status 3, \d s ago$", text, re.M)
    assert f"announced with MED 900: {WEB}" in text
    done = lab.ask("why", OURS)
    assert done.returncode == 1 and "its group web is down: unhealthy: app (cbpop bgp show health)" in done.stderr

    # Too often: what is well again is kept away, and it is said for how long.
    for _ in range(2):
        app.touch()
        wait_until(lambda: health(lab)["web"]["checks"][1]["isHealthy"], 5, "the check healthy")
        app.unlink()
        wait_until(lambda: not health(lab)["web"]["checks"][1]["isHealthy"], 5, "the check not healthy")
    app.touch()
    wait_until(lambda: health(lab)["web"]["reason"] == "it has come and gone too often", 5, "the suppression")
    assert 0 < health(lab)["web"]["suppressedFor"] <= 60
    drain.touch()
    wait_until(lambda: health(lab)["lesser"]["state"] == "drained", 5, "drained")
    assert f"{drain} is there" in lab.show("health")


def test_what_is_not_checked_is_said_too(lab):
    bird = Bird(lab).start()
    start(lab, bird, bgp=f"  announce: [{OURS}]\n  health: {{off: true}}\n")
    (view,) = lab.show("health", "--json")
    assert view["state"] == "up" and view["isAnnounced"] and "seconds" not in view
    assert "announce is up: nothing is checked: bgp.health.off" in lab.show("health")


def test_load_degrades_or_withdraws(lab):
    """Memory in use is the load that any machine has: past a mark of 1 % it is too high."""
    bird = Bird(lab).start()
    start(
        lab, bird, bgp=f"""  announcements:
    - name: web
      prefixes: [{WEB}]
      medUp: 100
      medDegraded: 200
    - name: plain
      prefixes: [{OURS}]
      checks: [listeners]
  health:
    load: {{onHigh: degrade, interval: 200ms, memoryHigh: 1, processorsHigh: 100000}}
""",
    )
    wait_until(lambda: med(bird, WEB) == 200 and bird.route(OURS), what="the MED of the degraded")


def test_hooks_hear_of_each_change_and_hold_up_nothing(lab):
    bird = Bird(lab).start()
    drain, heard = lab.directory / "drain", lab.directory / "heard"
    tell = script(lab.directory / "tell", f'echo "$CBR_PREFIX $CBR_STATE $CBR_REASON" >> {heard}; sleep 0.2')
    hang = script(lab.directory / "hang", f"echo x >> {lab.directory}/hung; exec sleep 60")
    pop = start(
        lab, bird, bgp=f"""  announce: [{OURS}]
  health:
    drainFile: {drain}
    hooks:
      - name: tell
        command: [{tell}, "an argument; touch {lab.directory}/pwned"]
      - name: hang
        command: [{hang}]
        timeout: 1s
""",
    )
    lines = lambda: heard.read_text().splitlines() if heard.exists() else []
    wait_until(lambda: lines()[-1:] == [f"{OURS} up all is well"], what="the first state")
    drain.touch()
    # The hanging one delays nothing.
    wait_until(lambda: bird.route(OURS) is None, 3, "the withdrawal")
    wait_until(lambda: lines()[-1:] == [f"{OURS} drained drained"], 3, "the second state")
    drain.unlink()
    wait_until(lambda: lines()[-1:] == [f"{OURS} up all is well"], 3, "the third state")
    # While one runs, others wait, and the last wins.
    before = len(lines())
    for _ in range(5):
        drain.touch()
        time.sleep(0.3)
        drain.unlink()
        time.sleep(0.3)
    wait_until(lambda: lines()[-1:] == [f"{OURS} up all is well"], 5, "the last state")
    assert len(lines()) > before
    pop.log.wait_for("hook failed.*")
    assert "timedOut" in pop.log.text
    assert not (lab.directory / "pwned").exists()
    pop.stop()
    assert lines()[-1] == f"{OURS} drained the PoP stops"


def test_the_listener_outlives_the_announcement(lab):
    """At a stop the prefix goes before what it leads to."""
    bird = Bird(lab).start()
    pop = start(lab, bird, bgp=f"  announce: [{OURS}]\n")
    wait_until(lambda: bird.route(OURS), what="our route")
    port = pop.quic_port

    def is_bound():
        return f":{port} " in run("ip", "netns", "exec", lab.space, "ss", "-Hlun")

    pop.process.terminate()
    wait_until(lambda: "(65535,0)" in (bird.route(OURS) or ""), 3, "GRACEFUL_SHUTDOWN")
    assert is_bound()
    while True:
        bound, route = is_bound(), bird.route(OURS)
        assert bound or route is None, "announced, and nobody there"
        if route is None:
            break
        time.sleep(0.02)
    pop.process.wait(20)


def test_a_route_that_is_about_to_go_is_the_last_choice(lab):
    """RFC 8326 §4.2: a neighbor that drains is left for another, whatever else speaks for it, and comes back."""
    one = Bird(lab).start(routes4=[WEB])
    two = Bird(lab).start(routes4=[f"{WEB} bgp_path.prepend(65100); bgp_path.prepend(65100);"])
    start(lab, one, two, bgp="  kernel:\n    on: true\n")

    def way():
        return {h.get("gateway") for r in json.loads(run("ip", "-j", "-n", lab.space, "route", "show", "proto", "203") or "[]")
                for h in r.get("nexthops", [r])}

    wait_until(lambda: way() == {one.address}, what="the shorter way")
    text = one.config.read_text()
    one.config.write_text(text.replace(f"route {WEB} blackhole;", f"route {WEB} blackhole {{ bgp_community.add((65535, 0)); }};"))
    one.ask("configure")
    wait_until(lambda: way() == {two.address}, 10, "the other way")
    (found,) = lab.show("why", WEB, "--json")
    assert found["routes"][0]["asPath"].endswith("65100 65100")
    one.config.write_text(text)
    one.ask("configure")
    wait_until(lambda: way() == {one.address}, 10, "the shorter way again")


# ---- TCP-AO (RFC 5925)


def has_tcp_ao():
    import socket

    with socket.socket() as s:
        try:
            s.setsockopt(socket.IPPROTO_TCP, 38, b"\0" * 288)
        except OSError as error:
            return error.errno not in (92, 1)
    return True


def ao_settings(lab, bird):
    key = lab.directory / "ao.key"
    key.write_text("a shared word")
    key.chmod(0o600)
    return lab.neighbor(bird, keyFile=key, sendID=5, receiveID=7, algorithm="aes-128-cmac-96")


def test_a_kernel_without_tcp_ao_is_said_to_lack_it(lab):
    if has_tcp_ao():
        pytest.skip("NOT TESTED: this kernel has TCP-AO")
    bird = Bird(lab)
    with pytest.raises(AssertionError) as failure:
        lab.start_pop(f"  announce: [{OURS}]\n  neighbors:\n{ao_settings(lab, bird)}")
    said = str(failure.value)
    assert "cannot use keyFile of bgp.neighbors" in said and "has no TCP Authentication Option (RFC 5925)" in said
    assert "a shared word" not in said


def test_sessions_between_two_pops_under_tcp_ao(lab):
    """None of BIRD 2, GoBGP 3 and ExaBGP 4 has it, so this is our own at both ends."""
    if not has_tcp_ao():
        pytest.skip("NOT TESTED: TCP-AO, which this kernel lacks (Linux 6.7 with CONFIG_TCP_AO has it)")
    from conftest import PoP

    other = Bird(lab)
    entries = ao_settings(lab, other)
    directory = lab.directory / "other"
    directory.mkdir()
    mine = (
        entries.replace(other.address, other.pop_address).replace(f"remoteAS: {other.number}", f"remoteAS: {POP_AS}")
        .replace("sendID: 5", "sendID: 7").replace("receiveID: 7", "receiveID: 5")
    )
    settings = f"control:\n  socket: {lab.socket}2\nbgp:\n  localAS: {other.number}\n  routerID: 10.77.0.2\n  neighbors:\n{mine}"
    two = PoP(directory, settings=settings, prefix=("ip", "netns", "exec", other.space))
    try:
        two.start()
        pop = lab.start_pop(f"  announce: [{OURS}]\n  neighbors:\n{entries}")
        wait_state(pop, other, "Established")
    finally:
        two.stop()
