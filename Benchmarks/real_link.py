"""Programs and the kernel's TCP over one emulated link: goodput, induced delay, jitter and loss, side by side.

    .venv/bin/python Benchmarks/real_link.py [--seconds 30] [--depths 1 4 16] [--flows NAME ...] [--write]

50 Mbit/s and 30 ms unless told; depths are in bandwidth-delay products. Needs root, for network namespaces. With --write
the tables go to docs/performance/real-link.md.
"""

import argparse
import os
import socket
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
- Lost: bytes that the full queue dropped, of all that the flow sent.
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


def measure(name, depth, arguments, call=False):
    """One flow alone with a probe, or with a call beside it."""
    bdp = arguments.rate * 1e6 / 8 * arguments.rtt / 1e3
    transmission = lambda packet: packet.size * 8 / (arguments.rate * 1e6)
    stop = threading.Event()
    progress = None
    with tempfile.NamedTemporaryFile(suffix=".packets") as log:
        with Lab(rate=arguments.rate, delay=arguments.rtt / 2, queue=depth * bdp, log=log.name) as lab:
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--rtt", type=float, default=30)
    parser.add_argument("--depths", type=float, nargs="+", default=[1, 4, 16])
    parser.add_argument("--flows", nargs="+", choices=FLOWS, default=list(FLOWS))
    parser.add_argument("--no-call", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.seconds <= WARM_UP:
        parser.error(f"--seconds: more than {WARM_UP}, which are not counted")
    if reason := no_lab():
        sys.exit(f"real_link.py: {reason}")
    text = HEAD.format(
        rate=arguments.rate, rtt=arguments.rtt, seconds=arguments.seconds, warm_up=WARM_UP, kernel=os.uname().release,
        cores=os.cpu_count(),
    )
    print(TABLE, end="", flush=True)
    text += TABLE
    absent = {name: reason for name in arguments.flows if (reason := missing(name))}
    present = [name for name in arguments.flows if name not in absent]

    def row(line):
        nonlocal text
        print(line, flush=True)
        text += line + "\n"

    for depth in arguments.depths:
        for name in present:
            r = measure(name, depth, arguments)
            row(
                f"| {depth:g} BDP | {name} | {r['goodput']:.1f} | {r['p50']:.1f} / {r['p95']:.1f} "
                f"| {r['j']:.2f} / {r['d95']:.2f} | {r['lost']:.2%} |"
            )
    if not arguments.no_call:
        row("\n## A call beside a bulk flow\n\nA call of 2 Mbit/s, 50 bursts of four packets a second, from the same side.\n")
        row(CALL_TABLE.rstrip())
        for depth in arguments.depths:
            for name in [None, *present]:
                r = measure(name, depth, arguments, call=True)
                row(
                    f"| {depth:g} BDP | {name or 'nothing'} | {r['call50']:.1f} / {r['call95']:.1f} | {r['callLost']:.2%} "
                    f"| {r['goodput']:.1f} |"
                )
    for name, reason in absent.items():
        row(f"\nNot measured: {name}: {reason}.")
    if arguments.write:
        path = ROOT / "docs" / "performance" / "real-link.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
