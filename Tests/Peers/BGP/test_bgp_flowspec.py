"""Flow specifications between cbpop and BIRD, GoBGP and ExaBGP, and from there to the kernel and to real packets."""

import json
import re
import socket
import struct
import time

import pytest
from namespaces import call_inside
from routers import Bird, ExaBGP, GoBGP, lines, mark, need, run, wait_state
from speaker import END_OF_RIB, IPV4, Speaker, message
from test_bgp_restart import leave

from conftest import wait_until

OURS = "198.51.100.0/24"
THEIRS = "203.0.113.0/24"
# Of the PoP's loopback: reached through the router that announces THEIRS.
TARGET = "203.0.113.1"
THEIRS6 = "2001:db8:200::/48"
TARGET6 = "2001:db8:200::1"
RULE = f"dst {TARGET}/32 proto udp dport 9001"
TABLE = "cloudbridge_flowspec"


class FlowBird(Bird):
    """BIRD with static flow specifications: `flows4` and `flows6`, each (conditions, extended community)."""

    flows4 = ()
    flows6 = ()

    def _write(self, *arguments):
        super()._write(*arguments)
        text = "flow4 table flowtab4;\nflow6 table flowtab6;\n" + self.config.read_text()
        for family, flows in [("flow4", self.flows4), ("flow6", self.flows6)]:
            routes = "".join(
                f"  route {family} {{ {conditions} }} {{ bgp_ext_community.add((generic, {community})); }};\n"
                for conditions, community in flows
            )
            text += f"protocol static s{family} {{\n  {family};\n{routes}}}\n" if flows else ""
        self.config.write_text(text)

    def rewrite(self, flows4):
        text = self.config.read_text()
        for conditions, _ in self.flows4:
            if conditions not in [kept for kept, _ in flows4]:
                text = re.sub(r"  route flow4 \{ " + re.escape(conditions) + r" \}.*\n", "", text)
        self.config.write_text(text)
        assert "Reconfigured" in self.ask("configure")

    def flow(self, words):
        text = self.ask("show route all table flowtab4") + self.ask("show route all table flowtab6")
        return text if words in text else None


@pytest.fixture
def lab(lab):
    need("nft")
    run("ip", "-n", lab.space, "addr", "add", f"{TARGET}/32", "dev", "lo")
    run("ip", "-n", lab.space, "addr", "add", f"{TARGET6}/128", "dev", "lo", "nodad")
    return lab


FAMILIES = "[ipv4, ipv6, flowspec4, flowspec6]"


def start(lab, router, bgp="  flowspec:\n    enforce: true\n", **settings):
    run("ip", "-n", router.space, "route", "add", f"{TARGET}/32", "via", router.pop_address)
    run("ip", "-n", router.space, "route", "add", f"{TARGET6}/128", "via", router.pop_address6)
    entry = lab.neighbor(router, families=FAMILIES, nextHops=f"['{router.pop_address6}']", **settings)
    pop = lab.start_pop(f"  announce: [{OURS}]\n{bgp}  neighbors:\n{entry}")
    wait_state(pop, router, "Established")
    return pop


def flows(lab):
    return {view["rule"]: view for view in lab.show("flowspec", "--json")}


def enforced(lab, rule, timeout=10):
    return wait_until(lambda: (flows(lab).get(rule) or {}).get("isEnforced"), timeout, f"{rule} enforced")


def gone(lab, rule):
    wait_until(lambda: rule not in flows(lab), what=f"{rule} gone")


def order(lab, *words):
    done = lab.order(*words)
    assert done.returncode == 0, done.stderr


def arrive(lab, router, port, count=1, size=100, target=TARGET):
    """How many of so many UDP packets from the router's namespace come to the PoP's."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET

    def listen():
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        server.bind((target, port))
        server.settimeout(0.5)
        return server

    def send():
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            for _ in range(count):
                client.sendto(bytes(size), (target, port))

    with call_inside(lab.space, listen) as server:
        call_inside(router.space, send)
        arrived = 0
        try:
            while arrived < count:
                server.recv(2000)
                arrived += 1
        except TimeoutError:
            pass
        return arrived


def table(lab):
    return run("ip", "netns", "exec", lab.space, "nft", "list", "ruleset", check=False)


# ---- Rules of others


def gobgp(lab):
    router = GoBGP(lab).start(families=("ipv4-unicast", "ipv6-unicast", "ipv4-flowspec", "ipv6-flowspec"))
    router.add(THEIRS)
    router.add(THEIRS6, family="ipv6")
    return router


def test_rules_of_gobgp_drop_packets(lab):
    router = gobgp(lab)
    run("ip", "netns", "exec", lab.space, "nft", "add table inet other; add chain inet other a")
    pop = start(lab, router)
    words = ["match", "destination", f"{TARGET}/32", "protocol", "udp", "destination-port", "==9001"]
    router.add(*words, "then", "discard", family="ipv4-flowspec")
    enforced(lab, RULE)
    assert arrive(lab, router, 9001, 3) == 0 and arrive(lab, router, 9002, 3) == 3
    view = flows(lab)[RULE]
    assert view["neighbor"] == router.name and view["actions"] == "drop" and view["isValid"] and view["isBest"]
    assert (view["packets"], view["octets"], view["droppedPackets"]) == (3, 3 * 128, 3)
    text = lab.show("flowspec")
    assert f"* {RULE}\n    then drop; from {router.name} ({router.address})\n    enforced: 3 packets" in text
    # Another one comes: the counters of the first stay.
    router.add("match", "destination", f"{TARGET6}/128", "then", "discard", family="ipv6-flowspec")
    enforced(lab, f"dst {TARGET6}/128")
    assert arrive(lab, router, 9003, 2, target=TARGET6) == 0 and flows(lab)[RULE]["packets"] == 3
    run(*router.command("gobgp", "global", "rib", "del", *words, "then", "discard", "-a", "ipv4-flowspec"))
    gone(lab, RULE)
    assert arrive(lab, router, 9001, 3) == 3
    # With the session, all of its rules go.
    router.kill()
    gone(lab, f"dst {TARGET6}/128")
    wait_until(lambda: "2001:db8" not in table(lab))
    assert "table inet other" in table(lab) and f"table inet {TABLE}" in table(lab)
    pop.stop()
    assert "table inet other" in table(lab) and TABLE not in table(lab)


def test_rules_of_bird(lab):
    router = FlowBird(lab)
    router.flows4 = [
        (f"dst {TARGET}/32; proto = 17; dport = 9001;", "0x80060000, 0x0"),
        (f"dst {TARGET}/32; proto = 17; dport 9100..9200;", "0x80060000, 0x0"),
        (f"dst {TARGET}/32; proto = 17; length > 1000;", "0x80060000, 0x0"),
    ]
    router.flows6 = [(f"dst {TARGET6}/128; next header = 17; dport = 9001;", "0x80060000, 0x0")]
    router.start(routes4=[THEIRS], routes6=[THEIRS6], channels="ipv4 flow4 flow6")
    start(lab, router, flowspecValidation="false")
    for rule in [RULE, f"dst {TARGET}/32 proto udp dport 9100-9200", f"dst {TARGET6}/128 proto udp dport 9001"]:
        enforced(lab, rule)
    assert arrive(lab, router, 9001) == arrive(lab, router, 9150) == arrive(lab, router, 9001, target=TARGET6) == 0
    assert arrive(lab, router, 9201) == arrive(lab, router, 9002, target=TARGET6) == 1
    assert arrive(lab, router, 9002, size=1200) == 0
    router.rewrite(router.flows4[1:])
    gone(lab, RULE)
    assert arrive(lab, router, 9001) == 1 and arrive(lab, router, 9150) == 0


def test_rules_of_exabgp(lab):
    router = ExaBGP(lab).start(routes=(f"{THEIRS} next-hop self",), families=("ipv4 unicast", "ipv4 flow", "ipv6 flow"))
    pop = start(lab, router)
    match = f"match {{ destination {TARGET}/32; protocol =udp; destination-port =9001; }}"
    router.order(f"announce flow route {{ {match} then {{ discard; }} }}")
    enforced(lab, RULE)
    assert arrive(lab, router, 9001) == 0 and arrive(lab, router, 9002) == 1
    router.order(f"withdraw flow route {{ {match} then {{ discard; }} }}")
    gone(lab, RULE)
    assert arrive(lab, router, 9001) == 1
    assert not lines(pop, "UPDATE treated as a withdrawal")


def test_a_rate_limit_limits(lab):
    router = gobgp(lab)
    start(lab, router)
    # A second's worth is let through at once, and 1500 octets more.
    words = ["match", "destination", f"{TARGET}/32", "protocol", "udp", "then", "rate-limit", "20000"]
    router.add(*words, family="ipv4-flowspec")
    rule = f"dst {TARGET}/32 proto udp"
    enforced(lab, rule)
    arrived = arrive(lab, router, 9001, 200, size=972)
    assert 18 <= arrived <= 30
    view = flows(lab)[rule]
    assert view["actions"] == "rate-limit 20000" and view["packets"] == 200
    assert view["droppedPackets"] == 200 - arrived
    time.sleep(1)
    assert 15 <= arrive(lab, router, 9001, 200, size=972) <= 30


def test_the_first_rule_that_matches_decides(lab):
    """RFC 8955 §5.1: the longer prefix comes first, whichever came first."""
    router = gobgp(lab)
    start(lab, router)
    router.add("match", "destination", THEIRS, "then", "discard", family="ipv4-flowspec")
    enforced(lab, f"dst {THEIRS}")
    assert arrive(lab, router, 9001) == 0
    order(lab, "flowspec", "add", RULE, "--action", "accept")
    enforced(lab, RULE)
    assert arrive(lab, router, 9001) == 1 and arrive(lab, router, 9002) == 0
    assert list(flows(lab)) == [RULE, f"dst {THEIRS}"]
    # Unless it says to go on.
    order(lab, "flowspec", "add", RULE, "--action", "continue")
    wait_until(lambda: flows(lab)[RULE]["actions"] == "continue" and flows(lab)[RULE]["isEnforced"])
    assert arrive(lab, router, 9001) == 0


def test_only_who_leads_there_may_say(lab):
    """RFC 8955 §6, and the setting that switches it off."""
    router = GoBGP(lab).start(families=("ipv4-unicast", "ipv4-flowspec"))
    pop = start(lab, router)
    router.add("match", "destination", f"{TARGET}/32", "then", "discard", family="ipv4-flowspec")
    rule = f"dst {TARGET}/32"
    view = wait_until(lambda: flows(lab).get(rule))
    assert not view["isValid"] and not view["isEnforced"] and "RFC 8955 section 6" in view["obstacle"]
    assert arrive(lab, router, 9001) == 1
    router.add(THEIRS)
    enforced(lab, rule)
    assert arrive(lab, router, 9001) == 0
    run(*router.command("gobgp", "global", "rib", "del", THEIRS))
    wait_until(lambda: not flows(lab)[rule]["isEnforced"])
    assert arrive(lab, router, 9001) == 1
    pop.stop()
    pop.config.write_text(pop.config.read_text().replace("remoteAS:", "flowspecValidation: false\n      remoteAS:"))
    pop.start()
    enforced(lab, rule, 40)
    assert arrive(lab, router, 9001) == 0


# ---- Restarts (RFC 4724)

SECOND = f"dst {TARGET}/32 proto udp dport 9002"


def keeps_flows(lab, router):
    """Whether BIRD has said that it may restart with its rules kept."""
    found = re.search(r"Local capabilities.*?Graceful restart.*?AF supported:([^\n]*)", router.ask("show protocols all pop"), re.S)
    if not found or "flow4" not in found[1]:
        pytest.skip("NOT TESTED AGAINST BIRD: this one has no graceful restart of flow specifications")


def blocks(lab, router, seconds, ports=(9001,)):
    """No packet comes through, however often one is sent; returns how often."""
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        for port in ports:
            assert arrive(lab, router, port) == 0, port
        count += 1
    return count


def test_rules_of_a_restarting_router_are_enforced_until_it_is_back(lab):
    router = FlowBird(lab)
    router.flows4 = [(f"dst {TARGET}/32; proto = 17; dport = {port};", "0x80060000, 0x0") for port in (9001, 9002)]
    router.start("graceful restart on;", routes4=[THEIRS], channels="ipv4 flow4 flow6")
    pop = start(lab, router, restartTime="60s")
    keeps_flows(lab, router)
    for rule in (RULE, SECOND):
        enforced(lab, rule)
    router.kill()
    wait_until(lambda: flows(lab)[RULE]["isStale"] and flows(lab)[SECOND]["isStale"], what="both stale")
    sent = blocks(lab, router, 2, (9001, 9002))
    # It is back with the first alone. -R has it say that its forwarding has gone on.
    text = router.config.read_text()
    router.config.write_text(re.sub(r"  route flow4 \{[^}]*9002;.*\n", "", text))
    since = mark(pop)
    (router.directory / "ctl").unlink()
    router.spawn("bird", "-R", "-f", "-c", router.config, "-s", router.socket)
    wait_state(pop, router, "Established", since)
    gone(lab, SECOND)
    sent += blocks(lab, router, 1)
    assert not flows(lab)[RULE]["isStale"] and arrive(lab, router, 9002) == 1
    assert flows(lab)[RULE]["packets"] == sent, "its counters have gone on"


class FlowSpeaker(Speaker):
    """Says rules to discard UDP to ports of the target."""

    families = (IPV4, (1, 133))

    def discard(self, *ports):
        rules = b""
        for port in ports:
            rule = b"\x01\x20" + socket.inet_aton(TARGET) + b"\x03\x81\x11" + b"\x05\x91" + struct.pack(">H", port)
            rules += bytes([len(rule)]) + rule
        reach = struct.pack(">HBBB", 1, 133, 0, 0) + rules
        path = struct.pack(">BBI", 2, 1, self.number)
        attributes = b"\x40\1\1\0" + b"\x40\2" + bytes([len(path)]) + path
        attributes += b"\x80\x0e" + bytes([len(reach)]) + reach + b"\xc0\x10\x08\x80\x06" + bytes(6)
        self.send(message(2, struct.pack(">HH", 0, len(attributes)) + attributes))

    def end(self):
        """Of the rules."""
        self.send(message(2, b"\0\0\0\6\x80\x0f\3\0\1\x85"))


def test_rules_are_enforced_until_the_end_of_rib_and_no_longer(lab):
    speaker = FlowSpeaker(lab)
    run("ip", "-n", speaker.space, "route", "add", f"{TARGET}/32", "via", speaker.pop_address)
    entry = lab.neighbor(speaker, families="[ipv4, flowspec4]", passive="true", restartTime="60s", flowspecValidation="false")
    lab.start_pop(f"  flowspec:\n    enforce: true\n  neighbors:\n{entry}")
    speaker.connect(FlowSpeaker.families, restart=0x0078)
    speaker.discard(9001, 9002)
    speaker.send(END_OF_RIB)
    speaker.end()
    for rule in (RULE, SECOND):
        enforced(lab, rule)
    speaker.close()
    wait_until(lambda: flows(lab)[RULE]["isStale"], what="the rules stale")
    blocks(lab, speaker, 1, (9001, 9002))
    speaker.connect(FlowSpeaker.families, restart=0x8078)
    speaker.discard(9001)
    wait_until(lambda: not flows(lab)[RULE]["isStale"], what="the first said again")
    speaker.send(END_OF_RIB)
    assert flows(lab)[SECOND]["isStale"], "the end of another family is not its own"
    blocks(lab, speaker, 1, (9001, 9002))
    speaker.end()
    gone(lab, SECOND)
    assert arrive(lab, speaker, 9002) == 1 and arrive(lab, speaker, 9001) == 0


def test_our_rules_outlive_our_restart(lab):
    """At the neighbor, which keeps them, and in our own kernel, its rules as well as ours; what is not said again goes."""
    router = FlowBird(lab)
    router.flows4 = [(f"dst {TARGET}/32; proto = 17; dport = 9001;", "0x80060000, 0x0")]
    router.start("graceful restart on;", routes4=[THEIRS], channels="ipv4 flow4 flow6")
    requests = lab.directory / "requests"
    pop = start(
        lab, router, bgp=f"  flowspec:\n    enforce: true\n  requests:\n    file: {requests}\n", restartTime="60s")
    keeps_flows(lab, router)
    order(lab, "flowspec", "add", SECOND)
    for rule in (RULE, SECOND):
        enforced(lab, rule)
    said = f"dst {TARGET}/32; proto 17; dport 9002;"
    wait_until(lambda: router.flow(said), what="our rule at BIRD")
    leave(lab)
    assert router.flow(said)
    blocks(lab, router, 1, (9001, 9002))
    pop.start()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        assert router.flow(said)
        blocks(lab, router, 0.01, (9001, 9002))
    wait_state(pop, router, "Established")
    for rule in (RULE, SECOND):
        enforced(lab, rule)
    # And once more, with nothing left to be said.
    leave(lab)
    requests.unlink()
    assert router.flow(said)
    pop.start()
    wait_until(lambda: not router.flow(said), 20, "its end at BIRD")
    wait_until(lambda: arrive(lab, router, 9002) == 1, 20, "its end in the kernel")
    blocks(lab, router, 1)


# ---- Rules of our own

OWN = [
    f"dst {TARGET}/32 proto udp dport 53,1000-2000 length >1400",
    f"dst {TARGET}/32 src 192.0.2.0/24 proto tcp tcp-flags =syn dscp 10",
    f"dst {TARGET}/32 proto icmp icmp-type 8 icmp-code 0",
    f"dst {TARGET}/32 fragment is-fragment",
]


def test_own_rules_arrive_at_bird(lab):
    router = FlowBird(lab).start(channels="ipv4 flow4 flow6")
    start(lab, router)
    for rule in OWN:
        order(lab, "flowspec", "add", rule, "--for", "10m")
    order(lab, "flowspec", "add", f"dst {TARGET6}/128 proto udp dport 53", "--action", "rate-limit 1000", "--action", "mark 10")
    text = wait_until(lambda: router.flow(f"dst {TARGET6}/128; next header 17; dport 53;"), what="all at BIRD")
    assert f"dst {TARGET}/32; proto 17; dport 53,1000..2000; length > 1400;" in text
    assert f"dst {TARGET}/32; src 192.0.2.0/24; proto 6; tcp flags 0x2/0x2; dscp 10;" in text
    assert f"dst {TARGET}/32; proto 1; icmp type 8; icmp code 0;" in text
    # So BIRD prints one of any of these flags.
    assert "fragment !!is_fragment;" in text
    # traffic-rate with our AS and a float; traffic-marking.
    assert "(generic, 0x8006fc00, 0x0)" in text
    assert "(generic, 0x8006fc00, 0x447a0000)" in text and "(generic, 0x80090000, 0xa)" in text
    order(lab, "flowspec", "remove", OWN[0])
    wait_until(lambda: not router.flow("dport 53,1000..2000;"), what="its end at BIRD")
    order(lab, "flowspec", "add", OWN[1], "--for", "2s")
    wait_until(lambda: not router.flow("src 192.0.2.0/24"), 10, "the other's end by itself")
    assert OWN[1] not in flows(lab) and flows(lab)[OWN[2]]["isEnforced"]


def test_own_rules_arrive_at_gobgp(lab):
    router = gobgp(lab)
    start(lab, router, bgp="")
    for rule in OWN:
        order(lab, "flowspec", "add", rule, "--action", "rate-limit 1000")
    order(lab, "flowspec", "add", f"dst {TARGET}/32 proto 47", "--action", "redirect 64512:7")

    def known():
        text = router.ask("global", "rib", "-a", "ipv4-flowspec")
        return text if text.count(f"[destination: {TARGET}/32]") == 5 else None

    text = wait_until(known, what="all at GoBGP")
    assert f"[destination: {TARGET}/32][protocol: ==udp][destination-port: ==53 >=1000&<=2000][packet-length: >1400]" in text
    assert f"[destination: {TARGET}/32][source: 192.0.2.0/24][protocol: ==tcp][tcp-flags: =S][dscp: ==10]" in text
    assert "[icmp-type: ==8][icmp-code: ==0]" in text and re.search(r"\[fragment: =?is-fragment\]", text)
    assert text.count("rate: 1000") >= 4 and "redirect: 64512:7" in text
    view = flows(lab)[OWN[0]]
    assert view["obstacle"] == "bgp.flowspec.enforce is false" and not view["isEnforced"]


def test_own_rules_arrive_at_exabgp(lab):
    router = ExaBGP(lab).start(families=("ipv4 unicast", "ipv4 flow"))
    start(lab, router)
    order(lab, "flowspec", "add", OWN[0])

    def heard():
        for update in router.updates():
            found = update.get("announce", {}).get("ipv4 flow")
            if found:
                return update
        return None

    update = wait_until(heard, what="it at ExaBGP")
    text = json.dumps(update)
    assert f'"destination-ipv4": ["{TARGET}/32"]' in text and '"protocol": ["=udp"]' in text
    assert '"destination-port": ["=53", ">=1000&<=2000"]' in text and '"packet-length": [">1400"]' in text
    assert "rate-limit:0" in text
    order(lab, "flowspec", "remove", OWN[0])
    wait_until(lambda: any("ipv4 flow" in update.get("withdraw", {}) for update in router.updates()))


# ---- What cannot be


def test_what_cannot_be_enforced_is_said(lab):
    router = gobgp(lab)
    start(lab, router)
    order(lab, "flowspec", "add", f"dst {TARGET}/32 proto 47", "--action", "redirect 64512:7")
    order(lab, "flowspec", "add", f"dst {TARGET}/32 tcp-flags 0x100")
    order(lab, "flowspec", "add", RULE)
    enforced(lab, RULE)
    views = flows(lab)
    assert "cannot be enforced: there are no routing instances" in views[f"dst {TARGET}/32 proto gre"]["obstacle"]
    assert "cannot be enforced: nftables has TCP flags of 8 bits" in views[f"dst {TARGET}/32 tcp-flags 0x100"]["obstacle"]
    # Someone takes the table away: it is made anew when it is missed.
    run("ip", "netns", "exec", lab.space, "nft", "flush", "ruleset")
    wait_until(lambda: flows(lab)[RULE]["isEnforced"])
    assert TABLE in table(lab) and arrive(lab, router, 9001) == 0


def test_without_nft(lab):
    router = gobgp(lab)
    pop = start(lab, router, bgp="  flowspec:\n    enforce: true\n    program: /nonexistent/nft\n")
    pop.log.wait_for("flow specifications are not enforced")
    order(lab, "flowspec", "add", RULE)
    assert "/nonexistent/nft cannot be run (No such file or directory): install nftables" in flows(lab)[RULE]["obstacle"]


def test_a_table_of_an_earlier_run_is_replaced(lab):
    router = gobgp(lab)
    pop = start(lab, router)
    order(lab, "flowspec", "add", RULE)
    enforced(lab, RULE)
    pop.kill()
    assert arrive(lab, router, 9001) == 0, "a crash does not open the gates"
    pop.start()
    wait_until(lambda: arrive(lab, router, 9001) == 1, 10, "the rule of the dead run gone")
    assert f"table inet {TABLE}" in table(lab)


def test_interfaces(lab):
    router = gobgp(lab)
    start(lab, router, bgp=f"  flowspec:\n    enforce: true\n    interfaces: [to{router.link + 1}]\n    table: other-name\n")
    order(lab, "flowspec", "add", RULE)
    enforced(lab, RULE)
    assert arrive(lab, router, 9001) == 1 and "table inet other-name" in table(lab)
