"""A pytest plugin that writes what the interop cases found as a table: `-p matrix --matrix FILE`."""

from pathlib import Path

CASES = (
    "handshake transfer longrtt chacha20 multiplexing retry resumption zerortt http3 blackhole keyupdate ecn "
    "amplificationlimit handshakeloss transferloss handshakecorruption transfercorruption v2 rebind_port rebind_addr "
    "connectionmigration"
).split()
COLUMNS = {
    "test_aioquic_client": "cbpop, from aioquic",
    "test_aioquic_server": "cbterm, to aioquic",
}
MARK = "<!-- what follows is written by scripts/interop -->\n"
REASONS = {
    ("test_aioquic_client", "ecn"): "aioquic neither marks nor reports ECN",
    ("test_aioquic_server", "ecn"): "aioquic neither marks nor reports ECN",
    ("test_aioquic_client", "v2"): "no case written yet",
    ("test_aioquic_server", "v2"): "no case written yet",
    ("test_aioquic_server", "multiplexing"): "cbterm has no page of many objects to fetch",
    ("test_aioquic_server", "http3"): "every case of this column is HTTP/3",
    ("test_aioquic_server", "keyupdate"): "cbterm has no command that updates keys; the cores' tests do",
    ("test_aioquic_server", "amplificationlimit"): "a server's duty",
    ("test_aioquic_server", "connectionmigration"): "cbterm does not move by itself yet",
}


outcomes = {}


def pytest_addoption(parser):
    parser.addoption("--matrix", help="write the outcomes of the interop cases to this file")


def pytest_runtest_logreport(report):
    if report.when == "call" or report.failed:
        room, case = report.nodeid.split("::")
        key = (room.rsplit("/", 1)[-1].removesuffix(".py"), case.split("[")[0].removeprefix("test_"))
        outcomes.setdefault(key, []).append(report.outcome)


def pytest_sessionfinish(session):
    path = session.config.getoption("--matrix")
    if not path:
        return
    lines = ["| case | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    notes = []
    for case in CASES:
        cells = []
        for column in COLUMNS:
            seen = outcomes.get((column, case))
            if seen:
                passed = seen.count("passed")
                cells.append("yes" if passed == len(seen) else f"**{passed} of {len(seen)}**")
            else:
                notes.append(REASONS.get((column, case), "not run"))
                cells.append(f"– ({len(notes)})")
        lines.append(f"| {case.replace('_', '-')} | " + " | ".join(cells) + " |")
    file = Path(path)
    head = file.read_text().split(MARK)[0] if file.exists() else ""
    reasons = "\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1))
    file.write_text(head + MARK + "\n".join(lines) + "\n\n" + reasons + "\n")
