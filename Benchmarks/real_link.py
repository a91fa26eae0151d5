"""Programs and the kernel's TCP over one emulated link: goodput, induced delay, jitter and loss, side by side.

    .venv/bin/python Benchmarks/real_link.py [--seconds 30] [--depths 1 4 16] [--flows NAME ...] [--write]

50 Mbit/s and 30 ms unless told; depths are in bandwidth-delay products. Needs root, for network namespaces. With --write
the tables go to docs/performance/real-link.md. With --minutes nothing begins that would not end in time.
"""

import argparse
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import programs  # the paths of the test fixtures, and release binaries unless told otherwise
from flows import FLOWS, missing
from lab import LEFT, RIGHT, ROOT, Lab
from lab import missing as no_lab
from packet_log import PASSED, QUEUE_FULL, jitter, percentile, to_left

PROBE_PORT, CALL_PORT = 4701, 4702
WARM_UP = 10  # seconds that no figure counts
TABLE = """| depth | flow | goodput, Mbit/s | induced delay P50 / P95, ms | jitter mean J / P95 D, ms | lost at the queue |
|---|---|---|---|---|---|
"""
MAIN_DEPTH = 4  # of the figures that have an aim
OURS, BASELINE = "cbpop BBRv3", "cbpop CUBIC"
LOSSY_TABLE = """| flow | goodput, Mbit/s | induced delay P50 / P95, ms |
|---|---|---|
"""
CALL_TABLE = """| depth | beside the call | one-way delay of the call P50 / P95, ms | of it lost | bulk, Mbit/s |
|---|---|---|---|---|
"""
HEAD = """# On a real link

Made by `Benchmarks/real_link.py --write`; not to be edited. Programs and the kernel's TCP between two network namespaces,
over one emulated link (`cblink`: {rate:g} Mbit/s, {rtt:g} ms, a byte-limited drop-tail queue, no chance loss). Each flow
alone, {seconds} s, of which the first {warm_up} do not count. Release builds; kernel {kernel}, {cores} cores.

- Induced delay: how long a packet of the flow waited at the bottleneck. Its own transmission is not counted.
- Jitter: a probe of 100 bytes every 20 ms beside the flow, by RFC 3550 section 6.4.1; J's mean over the whole time, and the
  95th percentile of the difference between two probes.
- Lost: bytes that the full queue dropped, of all that the flow sent; that much was sent again.
- At {main:g} BDP the flows took turns {repeats} times: the median, and the range in brackets.
- cbpop: a web server's bytes by CONNECT over HTTP/3 to cbterm's SOCKS port. picoquic by way of aiopquic.

"""


def beat(lab, port, sizes, stop):
    """Sends datagrams of these sizes from right to left every 20 ms."""
    sender = lab.inside(lab.right, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    receiver = lab.inside(lab.left, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    receiver.bind((LEFT, port))  # nobody reads: the link's log has all there is to know

    def run():
        due = time.monotonic()
        while not stop.is_set():
            for size in sizes:
                sender.sendto(bytes(size), (LEFT, port))
            due += 0.02
            time.sleep(max(due - time.monotonic(), 0))
        sender.close()
        receiver.close()

    threading.Thread(target=run, daemon=True).start()


def measure(name, depth, arguments, call=False, loss=0.0):
    """One flow alone with a probe, or with a call beside it."""
    bdp = arguments.rate * 1e6 / 8 * arguments.rtt / 1e3
    transmission = lambda packet: packet.size * 8 / (arguments.rate * 1e6)
    stop = threading.Event()
    progress = None
    with tempfile.NamedTemporaryFile(suffix=".packets") as log:
        with Lab(rate=arguments.rate, delay=arguments.rtt / 2, queue=depth * bdp, loss=loss, log=log.name) as lab:
            port = CALL_PORT if call else PROBE_PORT
            # A call of 2 Mbit/s: 50 frames a second in four packets each.
            sizes = [1222] * 4 if call else [72]
            if name:
                kind, congestion = FLOWS[name]
                with kind(lab, congestion) as progress:
                    began = time.monotonic()
                    beat(lab, port, sizes, stop)
                    time.sleep(arguments.seconds)
                    ended = time.monotonic()
                    stop.set()
            else:
                began = time.monotonic()
                beat(lab, port, sizes, stop)
                time.sleep(arguments.seconds)
                ended = time.monotonic()
                stop.set()
        packets = [p for p in to_left(log.name) if began + WARM_UP <= p.arrival < ended]
    beats = [p for p in packets if p.destination == port]
    flow = [p for p in packets if p.destination != port]
    waits = [(p.wait - transmission(p)) * 1e3 for p in flow if p.fate == PASSED]
    transits = [(p.wait + arguments.rtt / 2e3) * 1e3 for p in beats if p.fate == PASSED]
    mean_j, p95_d = jitter([p for p in beats if p.fate == PASSED])
    sent = sum(p.size for p in flow)
    return {
        "goodput": (progress.at(ended) - progress.at(began + WARM_UP)) * 8 / 1e6 / (ended - began - WARM_UP) if progress else 0,
        "p50": percentile(waits, 0.5),
        "p95": percentile(waits, 0.95),
        "j": mean_j * 1e3,
        "d95": p95_d * 1e3,
        "lost": sum(p.size for p in flow if p.fate == QUEUE_FULL) / sent if sent else 0,
        "call50": percentile(transits, 0.5),
        "call95": percentile(transits, 0.95),
        "callLost": sum(p.fate == QUEUE_FULL for p in beats) / max(len(beats), 1),
    }


class Report:
    """What is printed as it comes, and may be written in the end."""

    def __init__(self, head):
        self.text = head

    def say(self, line):
        print(line, flush=True)
        self.text += line + "\n"


def figure(runs, key, digits=1, scale=1):
    """The median of some runs, with their range where there are several."""
    values = [run[key] * scale for run in runs]
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def flow_row(depth, name, runs):
    return (
        f"| {depth:g} BDP | {name} | {figure(runs, 'goodput')} | {figure(runs, 'p50')} / {figure(runs, 'p95')} "
        f"| {figure(runs, 'j', 2)} / {figure(runs, 'd95', 2)} | {figure(runs, 'lost', 2, 100)} % |"
    )


def aims(report, found):
    """Our BBRv3 against our CUBIC, beside what is aimed at."""
    report.say("\n## The aims\n\nOur BBRv3 against our CUBIC at the same depth, of the medians.\n")
    report.say("| depth | CUBIC's P50 of induced delay / BBRv3's | jitter, of CUBIC's | goodput, of CUBIC's |\n|---|---|---|---|")
    for depth in sorted({depth for depth, name in found if (depth, OURS) in found and (depth, BASELINE) in found}):
        ours, theirs = (
            {key: statistics.median(run[key] for run in found[depth, name]) for key in ("p50", "j", "goodput")}
            for name in (OURS, BASELINE)
        )
        bloat, jitter_share = theirs["p50"] / max(ours["p50"], 1e-3), ours["j"] / theirs["j"]
        goodput = ours["goodput"] / theirs["goodput"]
        report.say(f"| {depth:g} BDP | {bloat:.2f} | {jitter_share:.0%} | {goodput:.1%} |")
        if depth == MAIN_DEPTH:
            holds = [bloat >= 5.79, jitter_share <= 0.5, goodput >= 1.002]
    if (MAIN_DEPTH, OURS) in found and (MAIN_DEPTH, BASELINE) in found:
        words = ["holds" if held else "does not hold" for held in holds]
        report.say(f"| aim at {MAIN_DEPTH} BDP | 5.79 or more: {words[0]} | 50 % or less: {words[1]} | 100.2 % or more: {words[2]} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--rtt", type=float, default=30)
    parser.add_argument("--depths", type=float, nargs="+", default=[1, 4, 16])
    parser.add_argument("--flows", nargs="+", choices=FLOWS, default=list(FLOWS))
    parser.add_argument("--repeats", type=int, default=3, help=f"at {MAIN_DEPTH} BDP")
    parser.add_argument("--call-depths", type=float, nargs="*", default=[1, 4, 16])
    parser.add_argument("--loss", type=float, default=0.1, help="per cent, for a table of its own; 0 leaves it out")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--note", default="", help="what else is to be said of the circumstances")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.seconds <= WARM_UP:
        parser.error(f"--seconds: more than {WARM_UP}, which are not counted")
    if reason := no_lab():
        sys.exit(f"real_link.py: {reason}")
    report = Report(
        HEAD.format(
            rate=arguments.rate, rtt=arguments.rtt, seconds=arguments.seconds, warm_up=WARM_UP, kernel=os.uname().release,
            cores=os.cpu_count(), main=MAIN_DEPTH, repeats=arguments.repeats,
        )
    )
    if arguments.note:
        report.say(arguments.note + "\n")
    end = time.monotonic() + arguments.minutes * 60
    absent = {name: reason for name in arguments.flows if (reason := missing(name))}
    present = [name for name in arguments.flows if name not in absent]
    left_out = []

    def run(what, name, *rest, **more):
        """A measurement, if it ends in time."""
        if time.monotonic() + arguments.seconds + 8 > end:
            left_out.append(what)
            return None
        return measure(name, *rest, **more)

    # The rows that have an aim come first, in turns, so that a change of the machine's mood meets all flows.
    found = {}
    for turn in range(arguments.repeats):
        for depth in sorted(arguments.depths, key=lambda depth: depth != MAIN_DEPTH):
            if turn > 0 and depth != MAIN_DEPTH:
                continue
            for name in present:
                if result := run(f"{name} at {depth:g} BDP, turn {turn + 1}", name, depth, arguments):
                    found.setdefault((depth, name), []).append(result)
                    print(flow_row(depth, name, [result]), file=sys.stderr, flush=True)
    report.say(TABLE.rstrip())
    for depth in arguments.depths:
        for name in present:
            if (depth, name) in found:
                report.say(flow_row(depth, name, found[depth, name]))
    aims(report, found)
    if arguments.call_depths:
        report.say("\n## A call beside a bulk flow\n\nA call of 2 Mbit/s, 50 bursts of four packets a second, from the same side.\n")
        report.say(CALL_TABLE.rstrip())
        for depth in sorted(arguments.call_depths, key=lambda depth: depth != MAIN_DEPTH):
            for name in [None, *present]:
                if r := run(f"a call beside {name or 'nothing'} at {depth:g} BDP", name, depth, arguments, call=True):
                    report.say(
                        f"| {depth:g} BDP | {name or 'nothing'} | {r['call50']:.1f} / {r['call95']:.1f} "
                        f"| {r['callLost']:.2%} | {r['goodput']:.1f} |"
                    )
    if arguments.loss:
        report.say(f"\n## {arguments.loss:g} % of random loss\n\nBoth ways, at 1 BDP.\n")
        report.say(LOSSY_TABLE.rstrip())
        for name in present:
            if r := run(f"{name} with loss", name, 1, arguments, loss=arguments.loss):
                report.say(f"| {name} | {r['goodput']:.1f} | {r['p50']:.1f} / {r['p95']:.1f} |")
    for name, reason in absent.items():
        report.say(f"\nNot measured: {name}: {reason}.")
    for what in left_out:
        report.say(f"\nNot measured for want of time: {what}.")
    if arguments.write:
        path = ROOT / "docs" / "performance" / "real-link.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report.text)


if __name__ == "__main__":
    main()
