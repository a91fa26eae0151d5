"""Dumps of the tables and of what neighbors send: read by bgpdump and mrtparse, and injected by GoBGP."""

import contextlib
import re
import stat
import subprocess
import time

import pytest
from routers import POP_AS, Bird, GoBGP, lines, mark, need, received, run, wait_state

from conftest import BIN, wait_until

OURS = "198.51.100.0/24"
THEIRS = "203.0.113.0/24"
SIX = "2001:db8:77::/48"


def bgpdump(file):
    """Each line of `bgpdump -m` as a list of its fields."""
    need("bgpdump")
    done = subprocess.run(["bgpdump", "-v", "-m", file], capture_output=True, text=True, check=True)
    assert not re.search("error|unknown|warn", done.stderr, re.I), done.stderr
    return [line.split("|") for line in done.stdout.splitlines()]


def mrtparse(file):
    """Each record as mrtparse takes it apart."""
    parser = pytest.importorskip("mrtparse", reason="NOT TESTED AGAINST mrtparse: it is not installed")
    records = []
    for entry in parser.Reader(str(file)):
        assert not entry.err, entry.err_msg
        records.append(entry.data)
    return records


def value(entry, name):
    """An attribute of a route as mrtparse shows it."""
    (found,) = [a["value"] for a in entry["path_attributes"] if name in a["type"].values()]
    return found


def dump(lab, file, *options):
    command = [str(BIN / "cbpop"), "bgp", "dump", str(file), "--socket", lab.socket, *options]
    return subprocess.run(command, capture_output=True, timeout=60)


def start(lab, more="", **neighbor):
    """A PoP between two routers that both know THEIRS; the second one's path is longer. The first has IPv6, too."""
    one = Bird(lab).start(
        channels="ipv4 ipv6",
        routes4=[f"{THEIRS} bgp_community.add((65001, 7)); bgp_large_community.add((65001, 1, 2));"],
        routes6=[SIX],
    )
    other = Bird(lab).start(routes4=[f"{THEIRS} bgp_path.prepend(4200000001);", "192.0.2.0/24"])
    six = {"families": "[ipv4, ipv6]", "nextHops": f"['{one.pop_address6}']"}
    pop = lab.start_pop(f"  announce: [{OURS}]\n{more}  neighbors:\n{lab.neighbor(one, **six)}{lab.neighbor(other)}")
    for bird, count in ((one, 2), (other, 2)):
        wait_state(pop, bird, "Established")
        wait_until(lambda bird=bird, count=count: received(pop, bird) == count)
    return pop, one, other


def test_the_tables_by_command(lab, tmp_path):
    _, one, other = start(lab)
    file = tmp_path / "tables"
    done = dump(lab, file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"5 routes in {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) & 0o137 == 0

    # Behind peer, AS and prefix: path, origin, next hop, local preference, MED, communities.
    rows = {tuple(row[3:6]): row[6:12] for row in bgpdump(file)}
    numbers = {one.address: str(one.number), other.address: str(other.number), None: str(POP_AS)}
    shown = [(r.get("address"), view["prefix"]) for view in lab.show("routes", "--json") for r in view["routes"]]
    assert set(rows) == {(address or "0.0.0.0", numbers[address], prefix) for address, prefix in shown}
    path, origin, hop, _, _, communities = rows[one.address, str(one.number), THEIRS]
    assert (path, origin, hop) == (str(one.number), "IGP", one.address) and "65001:7" in communities
    path, _, hop, *_ = rows[other.address, str(other.number), THEIRS]
    assert (path, hop) == (f"{other.number} 4200000001", other.address)
    assert rows[one.address, str(one.number), SIX][2] == one.address6

    head, *records = mrtparse(file)
    assert [int(peer["peer_as"]) for peer in head["peer_entries"]] == [POP_AS, one.number, other.number]
    assert head["collector_bgp_id"] == "10.77.0.1"
    assert [record["prefix"] for record in records] == ["192.0.2.0", "198.51.100.0", "203.0.113.0", "2001:db8:77::"]
    best, second = records[2]["rib_entries"]
    assert (best["peer_index"], second["peer_index"]) == (1, 2)
    assert value(best, "LARGE_COMMUNITY") == ["65001:1:2"]

    # The same to the standard output. No file is written over, and no half of one is left.
    assert len(dump(lab, "-").stdout) == file.stat().st_size
    again = dump(lab, file)
    assert again.returncode == 1 and b"File exists" in again.stderr
    lab.pop.kill()
    nothing = dump(lab, tmp_path / "none")
    assert nothing.returncode == 1 and b"no PoP runs here" in nothing.stderr
    assert [path.name for path in tmp_path.glob("none*")] == [] and len(list(tmp_path.glob("tables*"))) == 1


def test_gobgp_takes_a_dump(lab, tmp_path):
    """IPv4 alone: version 3.10 does not read IPv6 in a dump's form (osrg/gobgp#2649). Its command
    leaves before its daemon has taken the last of it, so that many routes are given, more than once, and the first are
    looked at."""
    need("gobgpd", "gobgp")
    first = "10.0.0.0/16 bgp_path.prepend(4200000001);"
    bird = Bird(lab).start(routes4=[first, *[f"10.{i}.0.0/16 bgp_community.add((65001, {i}));" for i in range(1, 201)]])
    pop = lab.start_pop(f"  announce: [{OURS}]\n  neighbors:\n{lab.neighbor(bird)}")
    wait_state(pop, bird, "Established")
    wait_until(lambda: received(pop, bird) == 201)
    file = tmp_path / "tables"
    assert dump(lab, file).returncode == 0
    other = GoBGP(lab).start()

    def has_many():
        said = run(*other.command("gobgp", "mrt", "inject", "global", "--queue-size", 1, file))
        assert "failed" not in said, said
        return int(re.search(r"Destination: (\d+)", other.ask("global", "rib", "summary"))[1]) > 20

    wait_until(has_many, 60, "GoBGP's routes")
    text = other.ask("global", "rib", "10.0.0.0/16")
    assert f"{bird.number} 4200000001" in text and bird.address in text, text
    assert "Communities: 65001:7" in other.ask("global", "rib", "10.7.0.0/16")


def test_several_paths_of_a_neighbor(lab, tmp_path):
    bird = Bird(lab).start(routes4=[THEIRS], others4=[f"{THEIRS} bgp_path.prepend(65100);"], channel="add paths tx;")
    pop = lab.start_pop(f"  neighbors:\n{lab.neighbor(bird, addPath='true')}")
    wait_state(pop, bird, "Established")
    wait_until(lambda: received(pop, bird) == 2)
    file = tmp_path / "tables"
    assert dump(lab, file).returncode == 0
    _, record = mrtparse(file)
    assert "RIB_IPV4_UNICAST_ADDPATH" in record["subtype"].values()
    shown = {r["pathIdentifier"] for view in lab.show("routes", "--json") for r in view["routes"]}
    assert {int(entry["path_id"]) for entry in record["rib_entries"]} == shown and len(shown) == 2
    assert sorted(row[7] for row in bgpdump(file)) == sorted([str(bird.number), f"{bird.number} 65100"])


def whole(directory, kind, count):
    """At least so many files of a kind that are whole, the oldest first."""

    def found():
        files = [file for file in directory.iterdir() if re.fullmatch(kind + r"\.20[23]\d{5}\.\d{4}(-\d+)?", file.name)]
        files = sorted(file for file in files if "2020" not in file.name)
        return len(files) >= count and files

    return wait_until(found, what=kind)


def test_files_at_intervals(lab, tmp_path):
    directory = tmp_path / "mrt"
    directory.mkdir()
    for name in ["rib.20200101.0000", "updates.20200101.0015-2", "rib.20200101.0200.gz", "notes"]:
        (directory / name).touch()
    (directory / ".updates.20200101.0030.part").write_bytes(b"cut off")
    began = time.time()
    more = f"  mrt:\n    directory: {directory}\n    tables: 2s\n    updates: 2s\n    keep: 1h\n"
    pop, one, other = start(lab, more)
    tables = whole(directory, "rib", 2)
    wait_until(lambda: any(len(bgpdump(file)) == 5 for file in directory.glob("rib.*") if not file.suffix == ".gz"))
    here = mark(pop)
    other.kill()
    wait_state(pop, other, "Idle", here)
    pop.stop()

    assert not (directory / "rib.20200101.0000").exists() and not (directory / "updates.20200101.0015-2").exists()
    assert (directory / "rib.20200101.0200.gz").exists() and (directory / "notes").exists()
    assert not list(directory.glob(".*.part"))
    updates = [file for file in directory.glob("updates.*") if "2020" not in file.name]
    for file in [*tables, *updates]:
        assert stat.S_IMODE(file.stat().st_mode) & 0o137 == 0
        stamp = time.strftime("%Y%m%d", time.gmtime(began))
        assert file.name.split(".")[1] in (stamp, time.strftime("%Y%m%d", time.gmtime()))

    rows = [row for file in updates if file.stat().st_size for row in bgpdump(file)]
    announced = {(row[3], row[5]) for row in rows if row[2] == "A"}
    assert announced == {(one.address, THEIRS), (one.address, SIX), (other.address, THEIRS), (other.address, "192.0.2.0/24")}
    changes = [tuple(row[5:7]) for row in rows if row[2] == "STATE" and row[3] == other.address]
    assert ("5", "6") in changes and ("6", "1") in changes
    assert all(began - 1 <= float(row[1]) <= time.time() for row in rows)

    records = [record for file in updates if file.stat().st_size for record in mrtparse(file)]
    assert all("BGP4MP_ET" in record["type"].values() for record in records)
    kinds = {kind for record in records for kind in record["subtype"].values()}
    assert kinds == {"BGP4MP_MESSAGE_AS4", "BGP4MP_STATE_CHANGE_AS4"}
    types = {kind for record in records if "bgp_message" in record for kind in record["bgp_message"]["type"].values()}
    assert {"OPEN", "UPDATE", "KEEPALIVE"} <= types


@contextlib.contextmanager
def small_disk(path, size):
    path.mkdir()
    try:
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"NOT TESTED: no tmpfs can be mounted here: {error.stderr}")
    try:
        yield
    finally:
        run("umount", "-l", path, check=False)


def test_a_full_disk(lab, tmp_path):
    """It is said once, the sessions go on, and when there is room so do the dumps."""
    routes = [f"10.{i // 250}.{i % 250}.0/24 bgp_community.add((65001, {i}));" for i in range(3000)]
    directory = tmp_path / "mrt"
    with small_disk(directory, "64k"):
        bird = Bird(lab).start(routes4=routes)
        more = f"  mrt:\n    directory: {directory}\n    tables: 1s\n    updates: 1s\n"
        pop = lab.start_pop(f"{more}  neighbors:\n{lab.neighbor(bird)}")
        wait_state(pop, bird, "Established")
        wait_until(lambda: received(pop, bird) == len(routes))
        wait_until(lambda: lines(pop, "dumps are lost"))
        time.sleep(4)
        lost = [line for line in lines(pop, "dumps are lost") if "/.rib." in line["error"]]
        assert len(lost) == 1 and "No space left on device" in lost[0]["error"]
        assert received(pop, bird) == len(routes) and bird.is_up()
        run("mount", "-o", "remount,size=16m", directory)
        wait_until(lambda: any("/rib." in line["file"] for line in lines(pop, "dumps are written again")))
        assert len(bgpdump(max(directory.glob("rib.*")))) == len(routes)
        pop.stop()
        # Whatever was kept is whole.
        for file in directory.glob("*.*"):
            if file.stat().st_size:
                bgpdump(file)
