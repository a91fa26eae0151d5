"""One anycast address behind two routers, at three PoPs, in network namespaces: what a client misses when one of them dies.

    client ── r1 ──┬─ p1      Every router has a link to every PoP, on which both run BGP and BFD. Routers are BIRD with
       └───── r2 ──┼─ p2      ECMP; the client spreads its flows over both. Links are veth pairs, or, where `bridged`,
                   └─ p3      veth pairs on either side of a bridge, so that neither end sees the other's carrier.

A PoP is BIRD beside a small service, or `cbpop`, which is both. Needs root. Everything goes when the `with` ends.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from namespaces import call_inside

ROOT = Path(__file__).resolve().parent.parent
ADDRESS, PREFIX, PORT = "198.51.100.1", "198.51.100.0/24", 443
CLIENT = "10.200.0.1"
POP_AS = 64512
INTERVAL = 0.002
_made = 0


def missing():
    """Why the laboratory cannot be had here; None where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "bird", "birdc"):
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
            return f"{program} is not installed (scripts/prerequisites test)"
    return None


def run(*words, check=True):
    return subprocess.run([str(word) for word in words], check=check, capture_output=True, text=True).stdout


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true in {seconds} s")
        time.sleep(0.05)
    return result


# What a probe is: a long header of a version that nobody speaks (RFC 9000 §6.1), 1,200 octets long. Any QUIC server
# answers it with a Version Negotiation packet that carries our Source Connection ID, here the probe's number, and
# keeps nothing of it.
VERSION = bytes.fromhex("1a2a3a4a")


def probe(number):
    packet = b"\xc0" + VERSION + b"\x08" + os.urandom(8) + b"\x08" + struct.pack("!Q", number)
    return packet + bytes(1200 - len(packet))


def answered(data):
    """The number of the probe that this answers; None for anything else."""
    if len(data) < 14 or not data[0] & 0x80 or data[1:5] != b"\0\0\0\0" or data[5] != 8:
        return None
    return struct.unpack("!Q", data[6:14])[0]


def serve(address):
    """The service beside a BIRD: answers as a QUIC server does that speaks version 1 alone."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, PORT))
    while True:
        data, source = server.recvfrom(2048)
        if len(data) >= 1200 and data[1:5] == VERSION and data[5] == 8 and data[14] == 8:
            server.sendto(b"\x80\0\0\0\0\x08" + data[15:23] + b"\x08" + data[6:14] + b"\0\0\0\x01", source)


class Probes:
    """One flow's probes, one each 2 ms, and which were answered."""

    def __init__(self, space, source_port):
        self.socket = call_inside(space, socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((CLIENT, source_port))
        self.socket.connect((ADDRESS, PORT))
        self.socket.settimeout(0.2)
        self.sent = []
        self.answers = {}
        self.running = True
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()

    def _send(self):
        due = time.monotonic()
        while self.running:
            with contextlib.suppress(OSError):
                self.sent.append(time.monotonic())
                self.socket.send(probe(len(self.sent) - 1))
            due += INTERVAL
            pause = due - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            elif pause < -0.1:
                due = time.monotonic()  # held up: not made up for by a burst

    def _receive(self):
        while self.running:
            try:
                number = answered(self.socket.recv(2048))
            except OSError:
                continue
            if number is not None:
                self.answers.setdefault(number, time.monotonic())

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join()
        self.socket.close()

    def result(self, since):
        """Of the probes sent from `since` on, of the last half-second none: the longest time in ms between two answered
        ones, how many were lost, and whether the end was answered again."""
        end = self.sent[-1] - 0.5
        chosen = [(at, number in self.answers) for number, at in enumerate(self.sent) if since - 0.2 <= at <= end]
        good = [at for at, got in chosen if got]
        lost = sum(not got for _, got in chosen)
        recovered = bool(chosen) and all(got for _, got in chosen[-50:])
        if not recovered:
            gap = (chosen[-1][0] - max([at for at in good if at < since + 0.05], default=since)) if chosen else 0
            return {"gap": round(gap * 1000, 1), "lost": lost, "recovered": False}
        gap = max((b - a for a, b in zip(good, good[1:])), default=0) if lost else 0
        return {"gap": round(gap * 1000, 1), "lost": lost, "recovered": True}


class Process:
    def __init__(self, space, log, *words, environment=None):
        self.space = space
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", space, *(str(word) for word in words)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | (environment or {}),
        )

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


class BirdPoP:
    """BIRD that announces, and the service beside it."""

    def __init__(self, lab, number):
        self.lab, self.number, self.space = lab, number, lab.space(f"p{number}")
        self.directory = lab.directory / f"p{number}"
        self.directory.mkdir()
        self.log = (self.directory / "log").open("ab")

    def start(self):
        self.service = Process(self.space, self.log, sys.executable, __file__, "--serve", ADDRESS)
        restart = "graceful restart on;" if self.lab.graceful_restart else ""
        self.lab.bird(
            self.directory / "bird.conf", self.number + 2,
            f"protocol static {{ ipv4; route {PREFIX} blackhole; }}"
            + "".join(
                f"""
protocol bgp r{router} {{
    local {self.lab.pop_address(router, self.number)} as {POP_AS};
    neighbor {self.lab.router_address(router, self.number)} as {65000 + router};
    {self.lab.session()} {restart}
    ipv4 {{ import all; export where source = RTS_STATIC; }};
}}"""
                for router in (1, 2)
            ),
        )
        self.daemon = self.spawn()

    def spawn(self):
        return Process(
            self.space, self.log, "bird", "-f", "-c", self.directory / "bird.conf", "-s", self.directory / "ctl", "-P",
            self.directory / "pid",
        )

    def kill(self):
        """The whole PoP's software, without a word."""
        self.service.kill()
        self.daemon.kill()

    def kill_service(self):
        self.service.kill()

    def drain(self):
        """As an operator does it: asks for other ways (RFC 8326), waits, and withdraws."""
        config = self.directory / "bird.conf"
        ctl = ("birdc", "-s", self.directory / "ctl")
        going = "export filter { if source != RTS_STATIC then reject; bgp_community.add((65535, 0)); accept; };"
        config.write_text(config.read_text().replace("export where source = RTS_STATIC;", going))
        run(*ctl, "configure")
        time.sleep(1)
        run(*ctl, "down")
        time.sleep(0.5)
        self.service.kill()

    def close(self):
        self.daemon.stop()
        self.service.stop()


class CloudBridgePoP:
    """`cbpop`, which serves and announces; where `lab.split`, one process that announces and another that serves."""

    def __init__(self, lab, number):
        from conftest import PoP

        self.lab, self.number, self.space = lab, number, lab.space(f"p{number}")
        directory = lab.directory / f"p{number}"
        directory.mkdir()
        enter = ("ip", "netns", "exec", self.space)
        control = f"control:\n  socket: {directory}/control\n"
        self.announcer = PoP(directory, control + self._bgp(), name=f"p{number}", prefix=enter)
        self.server = self.announcer
        if lab.split:
            other = directory / "server"
            other.mkdir()
            control = f"control:\n  socket: {other}/control\n"
            self.server = PoP(other, control, name=f"p{number}", state=self.announcer.state, prefix=enter)
        # The namespace's ports are all free; the machine's, which the tests draw from, say nothing of them.
        for first, process in ((18_001, self.announcer), (18_101, self.server)):
            text = process.config.read_text()
            for number, port in enumerate((process.issuer_port, process.dns_port)):
                text = text.replace(f"127.0.0.1:{port}\n", f"127.0.0.1:{first + number}\n")
            process.config.write_text(text)
            process.issuer_port, process.dns_port = first, first + 1
        config = self.server.config
        config.write_text(config.read_text().replace(f"127.0.0.1:{self.server.quic_port}", f"{ADDRESS}:{PORT}"))

    def _bgp(self):
        lines = [
            "bgp:", f"  localAS: {POP_AS}", f"  routerID: 10.255.0.{self.number + 2}", f"  announce: [{PREFIX}]",
            "  shutdownDelay: 1s", "  health:", f'    addresses: ["{ADDRESS}:{PORT}"]', "  neighbors:",
        ]
        for router in (1, 2):
            lines += [
                f"    - name: r{router}", f"      address: {self.lab.router_address(router, self.number)}",
                f"      remoteAS: {65000 + router}", f"      holdTime: {self.lab.hold_time}s", "      connectRetry: 1s",
                f"      bfd: {str(self.lab.bfd).lower()}", "      import: all",
            ]
            if self.lab.graceful_restart:
                lines.append("      restartTime: 120s")
        return "\n".join(lines) + "\n"

    def start(self):
        for process in {id(p): p for p in (self.server, self.announcer)}.values():
            process.start()

    def kill(self):
        for process in {id(p): p for p in (self.server, self.announcer)}.values():
            process.kill()

    def kill_service(self):
        assert self.lab.split
        self.server.kill()

    def drain(self):
        self.announcer.process.terminate()

    def close(self):
        for process in {id(p): p for p in (self.announcer, self.server)}.values():
            process.stop()


class Lab:
    """`split` has the announcing and the serving done by two processes, which only `cbpop` knows a difference of."""

    def __init__(
        self, directory, pop=BirdPoP, bridged=False, bfd=True, hold_time=240, graceful_restart=False, split=False, pops=3
    ):
        global _made
        _made += 1
        self.tag = f"any{os.getpid() % 10000}x{_made}"
        self.directory = Path(directory)
        self.bridged, self.bfd, self.hold_time, self.graceful_restart = bridged, bfd, hold_time, graceful_restart
        self.make, self.count, self.split = pop, pops, split
        self.stack = contextlib.ExitStack()
        self.probes = None

    # ---- What is made

    def space(self, name):
        return f"{self.tag}-{name}"

    def pop_address(self, router, pop):
        return f"10.{100 + router}.{pop}.2"

    def router_address(self, router, pop):
        return f"10.{100 + router}.{pop}.1"

    def session(self):
        retry = "connect delay time 1; connect retry time 1; error wait time 1,1;"
        return f"hold time {self.hold_time}; {retry} {'bfd on;' if self.bfd else ''}"

    def bird(self, path, identifier, protocols):
        bfd = 'protocol bfd { interface "*" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }'
        path.write_text(
            f"""
router id 10.255.0.{identifier};
log "{path.parent}/bird.log" all;
protocol device {{ scan time 10; }}
protocol direct {{ ipv4; }}
{bfd if self.bfd else ""}
{protocols}
"""
        )

    def __enter__(self):
        try:
            self._build()
            return self
        except BaseException:
            self.stack.close()
            raise

    def __exit__(self, *_):
        self.stack.close()

    def _build(self):
        names = ["client", "r1", "r2", *(f"p{number}" for number in range(1, self.count + 1))]
        if self.bridged:
            names.append("mid")
        for name in names:
            run("ip", "netns", "add", self.space(name))
            self.stack.callback(self._remove, name)
            run("ip", "-n", self.space(name), "link", "set", "lo", "up")
            # Flows are told apart by their ports; an answer may come back by the other router.
            for key in ("ipv4.ip_forward=1", "ipv4.fib_multipath_hash_policy=1", "ipv4.conf.all.rp_filter=0"):
                run("ip", "netns", "exec", self.space(name), "sysctl", "-qw", f"net.{key}", check=False)
        for router in (1, 2):
            self._link(("client", f"r{router}", f"10.200.{router}.1"), (f"r{router}", "client", f"10.200.{router}.2"))
            for pop in range(1, self.count + 1):
                self._link(
                    (f"r{router}", f"p{pop}", self.router_address(router, pop)),
                    (f"p{pop}", f"r{router}", self.pop_address(router, pop)),
                    f"m{router}{pop}" if self.bridged else None,
                )
        hops = [word for router in (1, 2) for word in ("nexthop", "via", f"10.200.{router}.2")]
        run("ip", "-n", self.space("client"), "route", "add", "default", *hops)
        run("ip", "-n", self.space("client"), "addr", "add", f"{CLIENT}/32", "dev", "lo")
        for router in (1, 2):
            run("ip", "-n", self.space(f"r{router}"), "route", "add", CLIENT, "via", f"10.200.{router}.1")
        for pop in range(1, self.count + 1):
            run("ip", "-n", self.space(f"p{pop}"), "addr", "add", f"{ADDRESS}/32", "dev", "lo")
            hops = [word for router in (1, 2) for word in ("nexthop", "via", self.router_address(router, pop))]
            run("ip", "-n", self.space(f"p{pop}"), "route", "add", "10.200.0.0/16", *hops)
        self.pops = {}
        for pop in range(1, self.count + 1):
            self.pops[pop] = self.make(self, pop)
            self.stack.callback(self.pops[pop].close)
            self.pops[pop].start()
        self.routers = {router: self._router(router) for router in (1, 2)}
        for router in (1, 2):
            wait_for(lambda: self.paths(router) == self.count, 60, f"{self.count} paths at r{router}")
        if self.bfd:
            wait_for(lambda: all(self._bfd_is_fast(router) for router in (1, 2)), 30, "BFD at its pace")

    def _bfd_is_fast(self, router):
        sessions = [line.split() for line in self.ask(router, "show bfd sessions").splitlines() if " Up " in line]
        # IP, interface, state, since, interval, timeout in seconds
        return len(sessions) == self.count and all(float(words[-1]) < 0.2 for words in sessions)

    def _link(self, left, right, bridge=None):
        def end(place, device, address):
            run("ip", "-n", self.space(place), "addr", "add", f"{address}/24", "dev", device)
            run("ip", "-n", self.space(place), "link", "set", device, "up")

        if not bridge:
            run("ip", "link", "add", left[1], "netns", self.space(left[0]), "type", "veth", "peer", "name", right[1], "netns",
                self.space(right[0]))
        else:
            mid = self.space("mid")
            run("ip", "-n", mid, "link", "add", bridge, "type", "bridge", "forward_delay", 0, "mcast_snooping", 0)
            run("ip", "-n", mid, "link", "set", bridge, "up")
            for (place, device, _), port in ((left, f"{bridge}r"), (right, f"{bridge}p")):
                run("ip", "link", "add", device, "netns", self.space(place), "type", "veth", "peer", "name", port, "netns", mid)
                run("ip", "-n", mid, "link", "set", port, "master", bridge, "up")
        end(*left)
        end(*right)

    def _router(self, number):
        directory = self.directory / f"r{number}"
        directory.mkdir()
        restart = "graceful restart aware;" if self.graceful_restart else "graceful restart off;"
        protocols = """
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; merge paths on; }
filter honour_graceful_shutdown { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; }
"""
        for pop in range(1, self.count + 1):
            protocols += f"""
protocol bgp p{pop} {{
    local {self.router_address(number, pop)} as {65000 + number};
    neighbor {self.pop_address(number, pop)} as {POP_AS};
    {self.session()} {restart}
    ipv4 {{ import filter honour_graceful_shutdown; export none; }};
}}"""
        self.bird(directory / "bird.conf", number, protocols)
        process = Process(
            self.space(f"r{number}"), (directory / "log").open("ab"), "bird", "-f", "-c", directory / "bird.conf", "-s",
            directory / "ctl", "-P", directory / "pid",
        )
        self.stack.callback(process.stop)
        return process

    def _remove(self, name):
        for pid in run("ip", "netns", "pids", self.space(name), check=False).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "delete", self.space(name), check=False)

    # ---- What is asked

    def ask(self, router, words):
        return run("birdc", "-s", self.directory / f"r{router}" / "ctl", words, check=False)

    def paths(self, router):
        """How many ways the router's kernel has to the address."""
        routes = json.loads(run("ip", "-j", "-n", self.space(f"r{router}"), "route", "show", PREFIX) or "[]")
        return sum(len(route.get("nexthops", [None])) for route in routes)

    def received(self, pop):
        total = 0
        for router in (1, 2):
            text = run("ip", "-s", "-j", "-n", self.space(f"p{pop}"), "link", "show", f"r{router}")
            total += json.loads(text)[0]["stats64"]["rx"]["packets"]
        return total

    def flow_to(self, pop):
        """Probes whose flow ends at this PoP. It is known only by trying; a socket keeps to the way that it has found."""
        for port in range(20_000, 20_200):
            flow = Probes(self.space("client"), port)
            time.sleep(0.1)
            before = {number: self.received(number) for number in self.pops}
            time.sleep(0.2)
            came = {number: self.received(number) - before[number] for number in self.pops}
            if max(came, key=came.get) == pop and flow.answers:
                return flow
            flow.stop()
        raise AssertionError(f"no flow ends at p{pop}")

    # ---- What is done to a PoP

    def link_down(self, pop):
        """The PoP's own ends go; the routers see their carriers go, unless there is a bridge."""
        for router in (1, 2):
            device, place = (f"r{router}", f"p{pop}") if not self.bridged else (f"m{router}{pop}p", "mid")
            run("ip", "-n", self.space(place), "link", "set", device, "down")

    def black_hole(self, pop):
        """Every interface stays up, and no frame arrives."""
        assert self.bridged
        for router in (1, 2):
            run("ip", "-n", self.space("mid"), "link", "set", f"m{router}{pop}p", "nomaster")

    def measure(self, pop, harm, seconds):
        """What a flow that ends at this PoP misses of what follows `harm`."""
        flow = self.flow_to(pop)
        try:
            time.sleep(0.5)
            began = time.monotonic()
            harm()
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))
        finally:
            flow.stop()
        return flow.result(began)


# ---- The ways in which a PoP dies: name, options of the laboratory, what is done, seconds to watch, most ms of gap.
SCENARIOS = {
    "daemon killed": ({}, lambda lab, pop: lab.pops[pop].kill(), 2),
    "link down": ({}, lambda lab, pop: lab.link_down(pop), 2),
    "link down behind a bridge": ({"bridged": True}, lambda lab, pop: lab.link_down(pop), 2),
    "silent black hole": ({"bridged": True}, lambda lab, pop: lab.black_hole(pop), 2),
    "silent black hole, no BFD, hold time 3 s": (
        {"bridged": True, "bfd": False, "hold_time": 3}, lambda lab, pop: lab.black_hole(pop), 6),
    "service dead, daemon alive": ({"split": True}, lambda lab, pop: lab.pops[pop].kill_service(), 4),
    "service dead, daemon alive, graceful restart": (
        {"split": True, "graceful_restart": True}, lambda lab, pop: lab.pops[pop].kill_service(), 4),
    "daemon killed, graceful restart, BFD": (
        {"graceful_restart": True}, lambda lab, pop: lab.pops[pop].kill(), 4),
    "drain": ({}, lambda lab, pop: lab.pops[pop].drain(), 6),
}


def play(name, directory, pop=BirdPoP):
    """One scenario in a laboratory of its own."""
    options, harm, seconds = SCENARIOS[name]
    with Lab(directory, pop=pop, **options) as lab:
        return lab.measure(2, lambda: harm(lab, 2), seconds)


if __name__ == "__main__" and sys.argv[1:2] == ["--serve"]:
    serve(sys.argv[2])
