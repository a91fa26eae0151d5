"""Runs the cases and writes docs/interop.md: matrix.py [CASE...]; without names, all."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import cases

# Cases of the interop runner that no cell exists for yet, and why.
MISSING = {
    "http3": "cbquic speaks HTTP/0.9 only; `Tests/Peers` has HTTP/3 of cbpop and cbterm with aioquic and curl",
    "v2": "cbquic has no switch for versions yet",
    "ecn": "aioquic neither sets ECN marks nor reports them (RFC 9000 §13.4.1 lets an endpoint without access to them)",
}
HEAD = """# Interoperability

Made by `scripts/interop`; not to be edited. Each cell is one run of `Tests/Interop/cases.py`: `cbquic`, on the same cores
as the programs, at one end, another implementation at the other, and a link between them that delays, loses, damages and
rebinds. A cell is green when every file arrived intact and what the case is about was seen to happen.

| case | cbquic as client, aioquic {aioquic} as server | aioquic as client, cbquic as server |
|---|---|---|
"""


def cell(name, role):
    """The cell's word and the reason for it."""
    reason = MISSING.get(name) or cases.NOT_APPLICABLE.get(("aioquic", "client" if role == "server" else "server", name))
    if reason:
        return "n/a", reason
    start = time.monotonic()
    fault = cases.run(name, role)
    took = time.monotonic() - start
    print(f"{name:22} {role:7} {took:6.1f} s  {fault or 'passed'}", flush=True)
    return ("red", fault[:300]) if fault else ("green", None)


def main():
    chosen = sys.argv[1:] or [*cases.CASES, *MISSING]
    rows, notes, failed = [], [], 0
    # The links' delays leave the processors idle: three cells at a time.
    with ThreadPoolExecutor(3) as pool:
        cells = {(name, role): pool.submit(cell, name, role) for name in chosen for role in ("client", "server")}
    for name in chosen:
        words = []
        for role in ("client", "server"):
            word, reason = cells[name, role].result()
            words.append(word)
            failed += word == "red"
            if reason:
                notes.append(f"- {name}, cbquic as {role}: {word}, {reason}.")
        rows.append(f"| {name} | {' | '.join(words)} |")
    if sys.argv[1:]:
        return failed
    text = HEAD.format(aioquic=version("aioquic")) + "\n".join(rows) + "\n\n## What is not green, and why\n\n"
    text += "\n".join(dict.fromkeys(notes)) + "\n"
    text += "\nNot run against picoquic and ngtcp2 yet.\n"
    (cases.ROOT / "docs" / "interop.md").write_text(text)
    return failed


sys.exit(1 if main() else 0)
