"""cbpop beside BIRD where BGP meets the machine: BFD, links, the kernel's routes, and the health of the service."""

import json
import time

from routers import Bird, kernel, mark, run, wait_state

from conftest import wait_until

OURS = "198.51.100.0/24"


class WatchedBird(Bird):
    """BIRD with BFD."""

    def start(self):
        return super().start("bfd on;")

    def _write(self, *arguments):
        super()._write(*arguments)
        with self.config.open("a") as config:
            config.write('protocol bfd { interface "*" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }')


def start(lab, *routers, bgp="", **settings):
    entries = "".join(lab.neighbor(router, **settings) for router in routers)
    pop = lab.start_pop(f"  announce: [{OURS}]\n  shutdownDelay: 1s\n{bgp}  neighbors:\n{entries}")
    for router in routers:
        wait_state(pop, router, "Established")
    return pop


# ---- BFD


def bfd_is_fast(bird):
    sessions = [line.split() for line in bird.ask("show bfd sessions").splitlines() if " Up " in line]
    return bool(sessions) and float(sessions[0][-1]) < 0.2


def test_a_router_that_freezes_is_given_up_by_bfd(lab):
    bird = WatchedBird(lab).start()
    pop = start(lab, bird, bfd="true", holdTime="90s")
    wait_until(lambda: bfd_is_fast(bird), what="BFD at its pace")
    since = mark(pop)
    bird.pause()
    assert "BFD Down" in wait_state(pop, bird, "Idle", since, 3)
    bird.resume()
    wait_state(pop, bird, "Established", since, 30)


def test_a_link_that_goes_is_given_up_at_once(lab):
    bird = Bird(lab).start()
    pop = start(lab, bird, holdTime="90s")
    since = mark(pop)
    # Our own end: of the other end's carrier the kernel tells once a second where the two have the same index.
    run("ip", "-n", lab.space, "link", "set", f"to{bird.link}", "down")
    assert "BFD Down" in wait_state(pop, bird, "Idle", since, 3)


# ---- The kernel's routes


def test_what_routers_announce_is_forwarded(lab):
    statics = ["203.0.113.0/24", "192.0.2.128/25"]
    one = Bird(lab).start(routes4=statics)
    two = Bird(lab).start(routes4=[statics[0]])
    run("ip", "-n", lab.space, "route", "add", "192.0.2.0/25", "via", one.address, "metric", 32)
    pop = start(lab, one, two, bgp="  kernel:\n    on: true\n")
    both = {statics[0]: {one.address, two.address}, statics[1]: {one.address}}
    wait_until(lambda: kernel(lab, "proto", 203) == both, what="both routes")
    two.kill()
    wait_until(lambda: kernel(lab, "proto", 203)[statics[0]] == {one.address}, 3, "the way that is left")
    two.start(routes4=[statics[0]], fresh=False)
    wait_until(lambda: kernel(lab, "proto", 203) == both, 30, "both ways again")

    # Killed, it leaves the routes, and takes them over when it is back.
    pop.kill()
    assert kernel(lab, "proto", 203) == both
    pop.start()
    for router in (one, two):
        wait_state(pop, router, "Established")
    wait_until(lambda: kernel(lab, "proto", 203) == both, 30, "the routes of the new run")
    # Stopped by will, it takes them with it, and nothing of others'.
    pop.stop()
    assert kernel(lab, "proto", 203) == {}
    assert kernel(lab, "192.0.2.0/25") == {"192.0.2.0/25": {one.address}}


def test_routes_of_ipv6_are_forwarded(lab):
    bird = Bird(lab).start(routes6=["2001:db8:200::/48"], channels="ipv6", six=True)
    start(
        lab, bird, six=True, address=f"'{bird.address6}'", families="[ipv6]", bgp="  kernel:\n    on: true\n    table: 1000\n"
    )
    # BIRD tells its link-local address too (RFC 2545) where the kernel has seen by then that nobody else has it.
    (link,) = json.loads(run("ip", "-j", "-6", "-n", bird.space, "addr", "show", "dev", "pop", "scope", "link"))
    (gateway,) = [address["local"] for address in link["addr_info"] if address]
    wait_until(
        lambda: kernel(lab, "table", 1000, family="-6").get("2001:db8:200::/48") in ({gateway}, {bird.address6}),
        what="the route of IPv6",
    )


def rules(lab):
    text = run("ip", "-j", "-4", "-n", lab.space, "rule", "show")
    return {(rule["priority"], rule.get("src"), rule.get("fwmark"), rule["table"]) for rule in json.loads(text)}


def test_packets_look_into_the_table_that_a_rule_names(lab):
    bird = Bird(lab).start(routes4=["203.0.113.0/24"])
    run("ip", "-n", lab.space, "rule", "add", "priority", 900, "from", "10.99.0.0/16", "lookup", 99)
    others = rules(lab)
    kernel_settings = """  kernel:
    on: true
    table: 1000
    rules:
      - {priority: 1000, table: 1000, from: 10.64.0.0/10}
      - {priority: 1001, table: 1000, mark: 7}
"""
    pop = start(lab, bird, bgp=kernel_settings)
    # Only by its table is the destination reached, and only who is meant reaches it.
    wait_until(lambda: kernel(lab, "table", 1000), what="the route")
    assert rules(lab) == others | {(1000, "10.64.0.0", None, "1000"), (1001, "all", "0x7", "1000")}
    run("ip", "-n", lab.space, "addr", "add", "10.64.0.1/32", "dev", "lo")
    assert bird.address in run("ip", "-n", lab.space, "route", "get", "203.0.113.1", "from", "10.64.0.1")
    assert bird.address in run("ip", "-n", lab.space, "route", "get", "203.0.113.1", "mark", 7)
    assert bird.address not in run("ip", "-n", lab.space, "route", "get", "203.0.113.1", check=False)
    pop.kill()
    pop.start()
    wait_state(pop, bird, "Established")
    pop.stop()
    assert rules(lab) == others


# ---- Health


def test_a_prefix_is_announced_only_while_the_listener_answers(lab):
    bird = Bird(lab).start()
    drain = lab.directory / "drain"
    start(lab, bird, bgp=f"  health:\n    drainFile: {drain}\n    interval: 200ms\n    recoveryDelay: 500ms\n")
    wait_until(lambda: bird.route(OURS), what="our route")
    drain.touch()
    wait_until(lambda: bird.route(OURS) is None, 3, "the withdrawal")
    drain.unlink()
    wait_until(lambda: bird.route(OURS), 5, "our route again")
    assert bird.is_up()


def test_nothing_is_announced_that_nobody_serves(lab):
    bird = Bird(lab).start()
    start(lab, bird, bgp='  health:\n    addresses: ["127.0.0.1:9"]\n')
    time.sleep(1)
    assert bird.is_up() and bird.route(OURS) is None


def test_a_listener_that_wants_certificates_counts_as_serving(lab):
    bird = Bird(lab).start()
    authority = lab.directory / "clients.pem"
    key = lab.directory / "clients.key"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=clients",
        "-days", 2, "-keyout", key, "-out", authority)
    entries = lab.neighbor(bird)
    lab.start_pop(
        f"  announce: [{OURS}]\n  neighbors:\n{entries}tls:\n  clientCertificates: required\n  clientAuthorities: {authority}\n"
    )
    wait_until(lambda: bird.is_up() and bird.route(OURS), 20, "our route")
