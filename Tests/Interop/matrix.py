"""Runs cells and writes docs/interop.md: matrix.py [--peer PEER] [CASE...]; without names, all.

What each cell last was is kept in docs/interop.json, so that a cell can be run anew by itself.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import cases

# Cases of the interop runner that no cell exists for yet, and why.
MISSING = {
    "http3": "cbquic speaks HTTP/0.9 only; Tests/Peers has HTTP/3 of cbpop and cbterm with aioquic and curl",
    "v2": "cbquic has no switch for versions yet",
}
HEAD = """# Interoperability

Made by `scripts/interop`; not to be edited. Each cell is one run of `Tests/Interop/cases.py`: `cbquic`, on the same cores
as the programs, at one end, another implementation at the other, and a link between them that delays, loses, damages and
rebinds. A cell is green when every file arrived intact and what the case is about was seen to happen. The role is
`cbquic`'s. Links and sizes are near the interop runner's, smaller where its cases take long: 20 connections instead of
50 in the two lossy handshakes, 1 MB for chacha20. Peers: aioquic {aioquic}, and picoquic by way of {picoquic}. ngtcp2 and
Chromium are not part of it yet.

"""
RESULTS = cases.ROOT / "docs" / "interop.json"
ROLES = ("client", "server")


def run(name, peer, role):
    if name in MISSING:
        return ["missing", MISSING[name]]
    reason = cases.NOT_APPLICABLE.get((peer, "client" if role == "server" else "server", name))
    if reason:
        return ["n/a", reason]
    if not Path(cases.PEERS[peer][0]).exists():
        return ["n/a", f"{peer} was not installed: it needs Python 3.12 or later"]
    start = time.monotonic()
    fault = cases.run(name, role, peer)
    print(f"{peer:9} {name:20} {role:7} {time.monotonic() - start:6.1f} s  {fault or 'passed'}", flush=True)
    return ["red", fault[:300]] if fault else ["green", ""]


def write(results):
    columns = [(peer, role) for peer in cases.PEERS for role in ROLES]
    here = Path(__file__).parent
    newer = (here / "requirements-picoquic.txt").read_text().strip().replace("==", " ")
    text = HEAD.format(aioquic=version("aioquic"), picoquic=newer) + "| case |" + "".join(f" {peer}, {role} |" for peer, role in columns) + "\n"
    text += "|---|" + "---|" * len(columns) + "\n"
    notes = {}
    for name in [*cases.CASES, *MISSING]:
        text += f"| {name} |"
        for peer, role in columns:
            word, reason = results.get(f"{name} {peer} {role}", ["not run", ""])
            text += f" {word} |"
            if reason:
                notes.setdefault((name, word, reason), []).append(f"{peer}, {role}")
        text += "\n"
    text += "\n## What is not green, and why\n\n"
    for (name, word, reason), cells in notes.items():
        where = "all" if len(cells) == len(columns) else "; ".join(cells)
        text += f"- {name} ({where}): {word}: {reason}.\n"
    (cases.ROOT / "docs" / "interop.md").write_text(text)
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", choices=cases.PEERS)
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    peers = [options.peer] if options.peer else [*cases.PEERS]
    chosen = options.cases or [*cases.CASES, *MISSING]
    # The links' delays leave the processors idle: three cells at a time.
    with ThreadPoolExecutor(3) as pool:
        cells = {(n, p, r): pool.submit(run, n, p, r) for n in chosen for p in peers for r in ROLES}
    fresh = {" ".join(key): cell.result() for key, cell in cells.items()}
    # Read late: another peer's run may have ended meanwhile.
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    write(results | fresh)
    return any(word == "red" for word, _ in fresh.values())


sys.exit(1 if main() else 0)
