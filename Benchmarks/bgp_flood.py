"""cbpop, BIRD and GoBGP under a flood of routes: a million of them, a real feed, four neighbors at once, passed on to
another, into the kernel, and taken back.

    .venv/bin/python Benchmarks/bgp_flood.py FLOOD [--feed MRT] [--rounds 3] [--speaker cbpop --speaker BIRD] [CASE...]

FLOOD is a program that speaks for the routers around: it connects, sends so many routes or those of an MRT file,
withdraws them, and prints JSON with the seconds until the process of --pid is quiet, its CPU-seconds and its memory.
Each speaker has the same neighbors, in network namespaces that go when it ends. Needs root.
"""

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("CBR_TEST_BIN", str(ROOT / ".build" / "release"))
sys.path[:0] = [str(ROOT / "Tests"), str(ROOT / "Tests" / "Peers" / "BGP")]

from routers import POP_AS, Lab  # noqa: E402


@dataclasses.dataclass
class Case:
    """What a speaker is put through: so many neighbors send the same prefixes, each with attributes of its own."""

    flood: list
    neighbors: int = 1
    passes_on: bool = False
    kernel: bool = False


class Speaker:
    """A speaker whose neighbors connect to it: AS 65001 and so on."""

    def __init__(self, lab, links, case):
        self.lab, self.links, self.case = lab, links, case

    def spawn(self, *command):
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.lab.space, *(str(word) for word in command)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        time.sleep(2)
        return self.process.pid

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()


class CBPoP(Speaker):
    name = "cbpop"

    def start(self):
        entries = "".join(
            f"    - {{name: r{number}, address: 10.77.{number}.2, remoteAS: {65000 + number}, passive: true, transit: true,"
            " import: all, export: all}\n"
            for number, _ in self.links
        )
        kernel = "  kernel: {on: true}\n" if self.case.kernel else ""
        pop = self.lab.start_pop(f"  shutdownDelay: 0s\n{kernel}  neighbors:\n{entries}")
        self.process = pop.process
        pop.log.wait_for("cbpop is ready")
        time.sleep(1)
        return pop.process.pid


class BIRD(Speaker):
    name = "BIRD"

    def start(self):
        config = self.lab.directory / "bird.conf"
        sessions = "\n".join(
            f"protocol bgp r{number} {{ local 10.77.{number}.1 as {POP_AS}; neighbor 10.77.{number}.2 as {65000 + number};\n"
            "  passive; error wait time 1,1; ipv4 { import all; export where source = RTS_BGP; }; }"
            for number, _ in self.links
        )
        kernel = "protocol kernel { ipv4 { import none; export all; }; }" if self.case.kernel else ""
        # A word for each route that is wrong, to a system log that nobody reads here, would be most of a real feed's time.
        log = f'log "{self.lab.directory}/bird.log" {{ error, fatal, bug }};'
        config.write_text(f"{log}\nrouter id 10.77.0.1;\nprotocol device {{ }}\n{kernel}\n{sessions}\n")
        return self.spawn("bird", "-f", "-c", config, "-s", self.lab.directory / "ctl")


class GoBGP(Speaker):
    name = "GoBGP"

    def start(self):
        config = self.lab.directory / "gobgpd.toml"
        config.write_text(
            f'[global.config]\n  as = {POP_AS}\n  router-id = "10.77.0.1"\n'
            + "".join(
                f"""[[neighbors]]
  [neighbors.config]
    neighbor-address = "10.77.{number}.2"
    peer-as = {65000 + number}
  [neighbors.transport.config]
    passive-mode = true
"""
                for number, _ in self.links
            )
        )
        return self.spawn("gobgpd", "-f", config, "--log-level=error", "--pprof-disable")


SPEAKERS = {speaker.name: speaker for speaker in (CBPoP, BIRD, GoBGP)}


def play(tool, case, speaker_type):
    """One run: what the tools say of the announcement and the withdrawal, and when another router had it all."""
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab(Path(directory))
        speaker = None
        try:
            links = [lab.link() for _ in range(case.neighbors + case.passes_on)]
            speaker = speaker_type(lab, links, case)
            pid = speaker.start()
            idle = memory(pid)
            collector = None
            if case.passes_on:
                command = base(tool, links[-1]) + ["--collect", 10**9, "--timeout", 600, "--json", f"{directory}/passed"]
                collector = start(command)
                time.sleep(1)
            floods = [
                start(
                    base(tool, link) + [*case.flood, "--seed", 1, "--pid", pid, "--withdraw", "--quiet", 1.5]
                    + ["--json", f"{directory}/{link[0]}"]
                )
                for link in links[: case.neighbors]
            ]
            for flood in floods:
                if flood.wait(900):
                    raise RuntimeError(f"{speaker.name}: a neighbor's session failed: {flood.stderr.read().decode()[-300:]}")
            results = [json.loads((Path(directory) / str(number)).read_text()) for number, _ in links[: case.neighbors]]
            # All of them watch the one process until it is quiet: the longest count holds for all.
            found = {
                phase: max((result[phase] for result in results), key=lambda values: values["cpu_s"])
                for phase in ("announce", "withdraw")
            }
            found["idle"] = idle
            if collector:
                collector.terminate()
                collector.wait(60)
            return found
        finally:
            if speaker:
                speaker.stop()
            lab.close()


def start(command):
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def base(tool, link):
    number, space = link
    return [
        *("ip", "netns", "exec", space, sys.executable, tool, "--connect", f"10.77.{number}.1:179"),
        *("--bind", f"10.77.{number}.2", "--local-as", 65000 + number, "--router-id", f"10.77.{number}.2"),
    ]


def memory(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024


def median(results, phase, key):
    values = [result[phase][key] for result in results]
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("--feed", help="an MRT file of a real feed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--routes", type=int, default=1_000_000)
    parser.add_argument("--sets", type=int, default=200_000)
    parser.add_argument("--speaker", action="append", choices=SPEAKERS, help="all where none is named")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="one-set, sets, feed, passed-on, four, kernel; all without")
    arguments = parser.parse_intermixed_args()
    for program in ("ip", "bird", "gobgpd"):
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
            sys.exit(f"NOT MEASURED: {program} is not installed")
    many = ["-n", arguments.routes, "-p", arguments.sets]
    cases = {
        "one-set": Case(["-n", arguments.routes, "-p", 1]),
        "sets": Case(many),
        "passed-on": Case(many, passes_on=True),
        "four": Case(many, neighbors=4),
        "kernel": Case(many, kernel=True),
    }
    if arguments.feed:
        cases["feed"] = Case(["--mrt", arguments.feed])
        cases["feed-passed-on"] = Case(["--mrt", arguments.feed], passes_on=True)
    wanted = arguments.cases or list(cases)
    if unknown := set(wanted) - set(cases):
        sys.exit(f"unknown case {', '.join(sorted(unknown))}; there are {', '.join(cases)} (feed with --feed)")
    print("| flood | speaker | seconds | CPU-s | RSS, MB (before) | withdrawn: seconds | CPU-s |\n|---|---|---|---|---|---|---|", flush=True)
    for title in wanted:
        # Only cbpop and BIRD put routes into the kernel by themselves.
        speakers = [
            speaker for name, speaker in SPEAKERS.items()
            if name in (arguments.speaker or SPEAKERS) and not (cases[title].kernel and speaker is GoBGP)
        ]
        results = {speaker: [] for speaker in speakers}
        # In turns, so that all have the same of what else the machine does.
        for _ in range(arguments.rounds):
            for speaker in speakers:
                results[speaker].append(play(arguments.tool, cases[title], speaker))
        for speaker, found in results.items():
            rss = statistics.median(result["announce"]["mem"]["VmRSS"] for result in found)
            print(
                f"| {title} | {speaker.name} | {median(found, 'announce', 'idle_s')} | {median(found, 'announce', 'cpu_s')}"
                f" | {rss:.0f} ({found[0]['idle']}) | {median(found, 'withdraw', 'idle_s')}"
                f" | {median(found, 'withdraw', 'cpu_s')} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
