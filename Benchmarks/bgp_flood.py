"""cbpop and BIRD under a flood of routes: a million of them, a real feed, passed on to a second router, taken back.

    .venv/bin/python Benchmarks/bgp_flood.py FLOOD [--feed MRT] [--rounds 3] [--routes 1000000] [--sets 200000]

FLOOD is a program that speaks for the routers around: it connects, sends so many routes or those of an MRT file,
withdraws them, and prints JSON with the seconds until the process of --pid is quiet, its CPU-seconds and its memory.
Each speaker has the same two neighbors, in network namespaces that go when it ends. Needs root.
"""

import argparse
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
sys.path[:0] = [str(ROOT / "Tests"), str(ROOT / "Tests" / "Peers")]

from routers import POP_AS, Lab  # noqa: E402



class Speaker:
    """A speaker with one or two neighbors, AS 65001 and 65002, that connect to it."""

    def __init__(self, lab, links):
        self.lab, self.links = lab, links

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


class CBPoP(Speaker):
    name = "cbpop"

    def start(self):
        entries = "".join(
            f"    - {{name: r{number}, address: 10.77.{number}.2, remoteAS: {65000 + number}, passive: true, transit: true, "
            "import: all, export: all}\n"
            for number, _ in self.links
        )
        pop = self.lab.start_pop(f"  shutdownDelay: 0s\n  neighbors:\n{entries}")
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
        config.write_text(f"router id 10.77.0.1;\nprotocol device {{ }}\n{sessions}\n")
        command = ["ip", "netns", "exec", self.lab.space, "bird", "-f", "-c", config, "-s", self.lab.directory / "ctl"]
        self.process = subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL)
        time.sleep(1)
        return self.process.pid


def flood(tool, kind, speaker_type, passed_on):
    """One run: what the tool says of the announcement and the withdrawal, and when the second router had it all."""
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab(Path(directory))
        try:
            links = [lab.link() for _ in range(2 if passed_on else 1)]
            speaker = speaker_type(lab, links)
            pid = speaker.start()
            idle = memory(pid)
            collector = None
            if passed_on:
                command = base(tool, links[1]) + ["--collect", 10**9, "--timeout", 60, "--json", f"{directory}/second"]
                collector = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(1)
            command = base(tool, links[0]) + [*kind, "--pid", pid, "--withdraw", "--json", f"{directory}/first"]
            subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=600)
            result = json.loads((Path(directory) / "first").read_text())
            if collector:
                collector.wait(120)
                second = json.loads((Path(directory) / "second").read_text())
                result["passed on"] = {"announced": second["collected"], "withdrawn": second["withdrawn"]}
            result["idle"] = idle
            speaker.stop()
            return result
        finally:
            lab.close()


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
    arguments = parser.parse_args()
    for program in ("ip", "bird"):
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
            sys.exit(f"NOT MEASURED: {program} is not installed")
    kinds = {f"{arguments.routes:,} routes, {arguments.sets:,} sets": ["-n", arguments.routes, "-p", arguments.sets]}
    if arguments.feed:
        kinds["the real feed"] = ["--mrt", arguments.feed]
    print("| flood | speaker | seconds | CPU-s | RSS, MB (before) | withdrawn: seconds | CPU-s |\n|---|---|---|---|---|---|---|", flush=True)
    for title, kind in kinds.items():
        for passed_on in (False, True):
            results = {CBPoP: [], BIRD: []}
            # In turns, so that both have the same of what else the machine does.
            for _ in range(arguments.rounds):
                for speaker in results:
                    results[speaker].append(flood(arguments.tool, kind, speaker, passed_on))
            for speaker, found in results.items():
                rss = statistics.median(result["announce"]["mem"]["VmRSS"] for result in found)
                print(
                    f"| {title}{', passed on' if passed_on else ''} | {speaker.name} | {median(found, 'announce', 'idle_s')}"
                    f" | {median(found, 'announce', 'cpu_s')} | {rss:.0f} ({found[0]['idle']})"
                    f" | {median(found, 'withdraw', 'idle_s')} | {median(found, 'withdraw', 'cpu_s')} |",
                    flush=True,
                )
                if passed_on:
                    print(f"<!-- {speaker.name} passed on {[result['passed on'] for result in found]} -->", flush=True)


if __name__ == "__main__":
    main()
