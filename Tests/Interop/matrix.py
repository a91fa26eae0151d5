"""Runs cells and writes docs/interop.md: matrix.py [--peer PEER] [CASE...]; without names, all.

What each cell last was is kept in docs/interop.json, so that a cell can be run anew by itself.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import cases

HEAD = """# Interoperability

Made by `scripts/interop`; not to be edited. Each cell is one run of `Tests/Interop/cases.py`: `cbquic`, on the same cores
as the programs, at one end, another implementation at the other, and a link between them that delays, loses, damages and
rebinds. A cell is green when every file arrived intact and what the case is about was seen to happen. The role is
`cbquic`'s. Links and sizes are near the interop runner's, smaller where its cases take long: 20 connections instead of
50 in the two lossy handshakes, 1 MB for chacha20. In connectionmigration the client moves to another address of its own,
in preferredaddress to another of the server's, beside the link. The last two rows are not the runner's: a client that
begins in version 2, and one that begins in a version that the server does not speak and then begins again.

Peers: aioquic {aioquic}; picoquic by way of aiopquic {aiopquic}, with HTTP/3 of its own as a server and aioquic's on top
as a client; Debian's ngtcp2 {ngtcp2}, whose programs gtlsclient and gtlsserver speak HTTP/3 in every row, and for v2-first
the newer one in webtransport-py {webtransport}. Chromium and curl are tested elsewhere.

"""
RESULTS = cases.ROOT / "docs" / "interop.json"
ROLES = ("client", "server")


def run(name, peer, role):
    cell = (peer, "client" if role == "server" else "server", name)
    if reason := cases.NOT_APPLICABLE.get(cell):
        return ["n/a", reason]
    if reason := cases.missing(cell):
        return ["not run", reason]
    start = time.monotonic()
    fault = cases.run(name, role, peer)
    print(f"{peer:9} {name:20} {role:7} {time.monotonic() - start:6.1f} s  {fault or 'passed'}", flush=True)
    if fault and cell in cases.FAULTS_OF_PEERS:
        return ["peer's fault", cases.FAULTS_OF_PEERS[cell]]
    return ["red", fault[:300]] if fault else ["green", ""]


def output(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


def write(results):
    columns = [(peer, role) for peer in cases.PEERS for role in ROLES]
    pinned = dict(re.findall(r"^(\S+)==(\S+)", (cases.HERE / "requirements-newer-python.txt").read_text(), re.M))
    text = HEAD.format(
        aioquic=version("aioquic"),
        aiopquic=pinned["aiopquic"],
        webtransport=pinned["webtransport-py"],
        ngtcp2=output("dpkg-query", "--show", "--showformat=${source:Upstream-Version}", "ngtcp2-client"),
    )
    text += "| case |" + "".join(f" {peer}, {role} |" for peer, role in columns) + "\n"
    text += "|---|" + "---|" * len(columns) + "\n"
    notes = {}
    for name in cases.CASES:
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
    chosen = options.cases or [*cases.CASES]
    # The links' delays leave the processors idle: three cells at a time.
    with ThreadPoolExecutor(3) as pool:
        cells = {(n, p, r): pool.submit(run, n, p, r) for n in chosen for p in peers for r in ROLES}
    fresh = {" ".join(key): cell.result() for key, cell in cells.items()}
    # Read late: another peer's run may have ended meanwhile.
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    write(results | fresh)
    return any(word == "red" for word, _ in fresh.values())


sys.exit(1 if main() else 0)
