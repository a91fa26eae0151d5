"""Routers that no one here wrote, each in a network namespace of its own with a link to the PoP's."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from conftest import BIN, PoP, wait_until

POP_AS = 64512


def need(*programs):
    """Skips, and says so, where a router or the right to make namespaces is missing."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: network namespaces need root")
    for program in programs:
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
            pytest.skip(f"NOT TESTED AGAINST {program}: it is not installed (scripts/prerequisites test)")


def run(*command, check=True):
    return subprocess.run([str(c) for c in command], check=check, capture_output=True, text=True).stdout


class Lab:
    """The PoP's namespace, and one for each router; link N has 10.77.N.0/24 and fd77:N::/64, the PoP being .1."""

    made = 0

    def __init__(self, directory):
        Lab.made += 1
        self.directory = directory
        self.tag = f"cb{os.getpid() % 10000}{Lab.made}"
        self.namespaces = []
        self.routers = []
        self.pop = None
        # A socket's path may be no longer than 99 bytes.
        self.socket = f"/tmp/{self.tag}.ctl"
        self.space = self._space("pop")

    def _space(self, name):
        space = f"{self.tag}-{name}"
        run("ip", "netns", "add", space)
        self.namespaces.append(space)
        run("ip", "-n", space, "link", "set", "lo", "up")
        return space

    def link(self):
        """A new namespace and its link; returns its number and name."""
        number = len(self.namespaces)
        space = self._space(f"r{number}")
        run("ip", "link", "add", f"to{number}", "netns", self.space, "type", "veth", "peer", "name", "pop", "netns", space)
        for where, device, host in [(self.space, f"to{number}", 1), (space, "pop", 2)]:
            run("ip", "-n", where, "addr", "add", f"10.77.{number}.{host}/24", "dev", device)
            run("ip", "-n", where, "addr", "add", f"fd77:{number}::{host}/64", "dev", device, "nodad")
            run("ip", "-n", where, "link", "set", device, "up")
        return number, space

    def start_pop(self, bgp, number=POP_AS):
        """`bgp` is the section's text but for what is the same in all."""
        settings = f"control:\n  socket: {self.socket}\nbgp:\n  localAS: {number}\n  routerID: 10.77.0.1\n{bgp}"
        self.pop = PoP(self.directory, settings=settings, prefix=("ip", "netns", "exec", self.space))
        self.pop.start()
        self.pop.lab = self
        return self.pop

    def show(self, *words):
        """What `cbpop bgp show` says; parsed with --json."""
        done = self.ask(*words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--json" in words else done.stdout

    def ask(self, *words):
        return self.order("show", *words)

    def order(self, *words):
        """What `cbpop bgp` comes to with these words."""
        command = [str(BIN / "cbpop"), "bgp", *map(str, words), "--socket", self.socket]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def neighbor(self, router, six=False, **settings):
        """A neighbor's entry in the PoP's settings; one of None is left out. By itself all routes are taken, and with
        transit all are passed on, for which RFC 8212 wants a word each."""
        lines = {
            "name": router.name,
            "address": router.address6 if six else router.address,
            "remoteAS": router.number,
            "connectRetry": "1s",
            "holdTime": "9s",
            "import": "all",
        } | ({"export": "all"} if "transit" in settings else {}) | settings
        return "    - " + "\n      ".join(f"{key}: {value}" for key, value in lines.items() if value is not None) + "\n"

    def close(self):
        """Whatever went wrong before or here, the namespaces go."""
        with contextlib.ExitStack() as stack:
            for space in self.namespaces:
                stack.callback(run, "ip", "netns", "del", space, check=False)
            for router in self.routers:
                stack.callback(router.stop)
            if self.pop:
                if self.pop.process.poll() is None:
                    self.pop.process.send_signal(signal.SIGCONT)
                self.pop.stop()


class Router:
    """What BIRD, GoBGP and ExaBGP have in common."""

    program = ""

    def __init__(self, lab, number=None):
        need(self.program)
        self.lab = lab
        self.link, self.space = lab.link()
        self.name = f"r{self.link}"
        self.number = number or 65000 + self.link
        self.address = f"10.77.{self.link}.2"
        self.address6 = f"fd77:{self.link}::2"
        self.pop_address = f"10.77.{self.link}.1"
        self.pop_address6 = f"fd77:{self.link}::1"
        self.directory = lab.directory / self.name
        self.directory.mkdir()
        self.process = None
        lab.routers.append(self)

    def command(self, *arguments):
        return ["ip", "netns", "exec", self.space, *[str(a) for a in arguments]]

    def spawn(self, *arguments, **kwargs):
        self.log = (self.directory / "log").open("ab")
        self.process = subprocess.Popen(
            self.command(*arguments), stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, **kwargs
        )

    def said(self):
        return (self.directory / "log").read_text(errors="replace")

    @property
    def pid(self):
        """`ip netns exec` becomes the program."""
        return self.process.pid

    def kill(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()

    def link_down(self):
        run("ip", "-n", self.space, "link", "set", "pop", "down")

    def link_up(self):
        run("ip", "-n", self.space, "link", "set", "pop", "up")


class Bird(Router):
    program = "bird"

    def start(self, session="", routes4=(), routes6=(), channels="ipv4", six=False, fresh=True, channel="", others4=()):
        """`session` goes into the protocol's block, `channel` into each channel's; a route is a prefix, perhaps with a
        filter's statements; `others4` are of another static protocol."""
        self.socket = self.directory / "ctl"
        if fresh:
            self._write(session, routes4, routes6, channels, six, channel, others4)
        self.spawn("bird", "-f", "-c", self.config, "-s", self.socket)
        wait_until(lambda: self.socket.exists() and "BIRD" in self.ask("show status"), what="bird")
        return self

    def _write(self, session, routes4, routes6, channels, six, channel, others4):
        def static(family, routes):
            lines = []
            for route in routes:
                prefix, _, statements = route.partition(" ")
                lines.append(f"    route {prefix} blackhole{' { ' + statements + ' }' if statements else ''};")
            return "protocol static {\n    " + family + ";\n" + "\n".join(lines) + "\n}\n" if routes else ""

        options = "{ import all; export where source = RTS_STATIC || source = RTS_BGP; " + channel + " };"
        local, neighbor = (self.address6, self.pop_address6) if six else (self.address, self.pop_address)
        self.config = self.directory / "bird.conf"
        self.config.write_text(
            f"""
router id {self.address};
log "{self.directory}/log" all;
protocol device {{ }}
protocol direct {{ ipv4; ipv6; }}
{static("ipv4", routes4)}{static("ipv4", others4)}{static("ipv6", routes6)}
protocol bgp pop {{
    debug {{ states, events }};
    local {local} as {self.number};
    neighbor {neighbor} as {POP_AS};
    hold time 9;
    connect delay time 1;
    connect retry time 1;
    error wait time 1,1;
    {session}
    {" ".join(f"{c} {options}" for c in channels.split())}
}}
"""
        )

    def ask(self, *words):
        return run(*self.command("birdc", "-s", self.socket, *words), check=False)

    def is_up(self):
        return re.search(r"^pop .*Established", self.ask("show protocols"), re.M)

    def route(self, prefix):
        """The attributes of the PoP's route as BIRD prints them; None where there is none."""
        text = self.ask(f"show route all protocol pop for {prefix}")
        return text if prefix in text else None

    def count(self):
        return int(re.search(r"(\d+) of", self.ask("show route protocol pop count"))[1])


# A line of the log: its metadata in the order of their names, [the module], the message.
LINE = re.compile(r"(notice|info|warning|error) cbpop ?: (?P<fields>.*?)\[\w+\] (?P<message>.*)$", re.M)
FIELD = re.compile(r"(\w+)=(.*?)(?=\s+\w+=|\s*$)")


def lines(pop, message, start=0):
    """The fields of each line of the PoP's log with this message."""
    return [
        dict(FIELD.findall(found["fields"])) for found in LINE.finditer(pop.log.text, start) if found["message"] == message
    ]


def states(pop, router, start=0):
    """The states that the session came to, each with its cause or None."""
    changes = [fields for fields in lines(pop, "BGP state", start) if fields["neighbor"] == router.name]
    return [(fields["to"], fields.get("cause")) for fields in changes]


def wait_state(pop, router, state, start=0, timeout=20):
    """Waits until the log says so; returns the cause."""

    def cause():
        found = [reason or "-" for to, reason in states(pop, router, start) if to == state]
        return found and found[0]

    return wait_until(cause, timeout, f"{router.name} in {state}")


def report(pop):
    """How the sessions stand, by neighbor."""
    return {view["name"]: view for view in pop.lab.show("neighbors", "--json")}


def received(pop, router):
    return report(pop)[router.name]["received"]


def kernel(lab, *words, family="-4"):
    """The routes that the PoP's kernel has, each as (destination, set of gateways)."""
    # A table of which there is no route yet is an error.
    text = run("ip", "-j", family, "-n", lab.space, "route", "show", *words, check=False)
    found = {}
    for route in json.loads(text) if text.rstrip().endswith("]") else []:
        hops = route.get("nexthops", [route])
        found[route["dst"]] = {hop.get("gateway") for hop in hops}
    return found


def mark(pop):
    """Where the log is now, for what must be said from here on."""
    return len(pop.log.text)


class GoBGP(Router):
    program = "gobgpd"

    def start(self, families=("ipv4-unicast",), passive=False, everything=False):
        """With `everything`, graceful restart and several paths for each prefix."""
        config = self.directory / "gobgpd.toml"
        each = (
            "\n    [neighbors.afi-safis.mp-graceful-restart.config]\n      enabled = true"
            "\n    [neighbors.afi-safis.add-paths.config]\n      send-max = 8" if everything else ""
        )
        afi_safis = "".join(
            f'\n  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = "{family}"{each}'
            for family in families
        )
        if everything:
            afi_safis += "\n  [neighbors.graceful-restart.config]\n    enabled = true\n    restart-time = 60"
        config.write_text(
            f"""
[global.config]
  as = {self.number}
  router-id = "{self.address}"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "{self.pop_address}"
    peer-as = {POP_AS}
  [neighbors.timers.config]
    connect-retry = 1
    hold-time = 9
    keepalive-interval = 3
  [neighbors.transport.config]
    passive-mode = {str(passive).lower()}{afi_safis}
"""
        )
        self.spawn("gobgpd", "-f", config, "--log-level=debug")
        wait_until(lambda: self.ask("global") != "", what="gobgpd")
        return self

    def ask(self, *words):
        return run(*self.command("gobgp", *words), check=False)

    def add(self, prefix, *attributes, family="ipv4"):
        run(*self.command("gobgp", "global", "rib", "add", prefix, *attributes, "-a", family))

    def route(self, prefix, family="ipv4"):
        """The best path as GoBGP's JSON has it; None where there is none."""
        text = self.ask("global", "rib", prefix, "-a", family, "-j")
        paths = json.loads(text) if text.startswith(("[", "{")) else []
        paths = list(paths.values())[0] if isinstance(paths, dict) and paths else paths
        return paths[0] if paths else None


class ExaBGP(Router):
    program = "exabgp"

    def start(self, routes=(), families=("ipv4 unicast",), refresh=True, capabilities=""):
        """`routes` and `capabilities` as its configuration has them. What it receives is in `heard`, a JSON object a line."""
        self.heard_file = self.directory / "heard"
        helper = self.directory / "hear"
        # Its input does not block, and it must not close its output: ExaBGP stops when it does.
        self.orders = self.directory / "orders"
        if not self.orders.exists():
            os.mkfifo(self.orders)
        helper.write_text(
            f"""#!{sys.executable}
import os, select
orders = os.open("{self.orders}", os.O_RDWR)
with open("{self.heard_file}", "ab", 0) as file:
    while True:
        ready, _, _ = select.select([0, orders], [], [])
        if orders in ready:
            os.write(1, os.read(orders, 4096))
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                break
            file.write(data)
"""
        )
        helper.chmod(0o755)
        config = self.directory / "exabgp.conf"
        config.write_text(
            f"""
process hear {{ run {helper}; encoder json; }}
neighbor {self.pop_address} {{
    router-id {self.address}; local-address {self.address};
    local-as {self.number}; peer-as {POP_AS}; hold-time 9;
    capability {{ route-refresh {"enable" if refresh else "disable"}; {capabilities} }}
    family {{ {" ".join(f + ";" for f in families)} }}
    api {{ processes [ hear ]; receive {{ parsed; update; open; keepalive; refresh; }} neighbor-changes; }}
    static {{ {" ".join(f"route {r};" for r in routes)} }}
}}
"""
        )
        settings = {"exabgp.daemon.user": "root", "exabgp.daemon.drop": "false", "exabgp.log.destination": "stderr"}
        self.spawn("env", *[f"{k}={v}" for k, v in settings.items()], "exabgp", config)
        return self

    def order(self, text):
        """A command of its API."""
        self.orders.write_text(text + "\n")

    def heard(self):
        if not self.heard_file.exists():
            return []
        messages = []
        for line in self.heard_file.read_text().splitlines():
            if not line.endswith("}"):
                continue
            try:
                messages.append(json.loads(line))
            except json.JSONDecodeError:
                # What version 4.2.21 writes of a ROUTE-REFRESH lacks a quotation mark.
                messages.append({"type": re.search(r'"type": ?"(\w+)"', line)[1], "text": line})
        return messages

    def updates(self):
        return [m["neighbor"]["message"]["update"] for m in self.heard() if m["type"] == "update" and "update" in m["neighbor"]["message"]]

    def announced(self, prefix):
        """The attributes and next hop with which the prefix came last; None where it was withdrawn or never came."""
        last = None
        for update in self.updates():
            for hops in update.get("announce", {}).values():
                for hop, entries in hops.items():
                    if any(entry.get("nlri") == prefix for entry in entries if isinstance(entry, dict)):
                        last = update.get("attribute", {}) | {"next-hop": hop}
            for entries in update.get("withdraw", {}).values():
                if any(entry.get("nlri") == prefix for entry in entries):
                    last = None
        return last
