"""What monitoring stations are told (BMP, RFC 7854): pmacct's pmbmpd takes it, and Wireshark's dissector reads it."""

import json
import struct
import subprocess
import sys

from routers import Bird, Router, lines, mark, need, received, wait_state

from conftest import wait_until

OURS = "198.51.100.0/24"
THEIRS = "203.0.113.0/24"
SIX = "2001:db8:77::/48"
PORT = 1790
ROUTE, STATISTICS, PEER_DOWN, PEER_UP, INITIATION, TERMINATION = range(6)


class Pmacct(Router):
    """The collector of pmacct; what it understood is its log, a JSON object a line."""

    program = "pmbmpd"

    def start(self):
        self.messages = self.directory / "messages.json"
        config = self.directory / "pmbmpd.conf"
        config.write_text(
            f"daemonize: false\nbmp_daemon_ip: {self.address}\nbmp_daemon_port: {PORT}\nbmp_daemon_max_peers: 10\n"
            f"bmp_daemon_msglog_file: {self.messages}\nbmp_daemon_msglog_output: json\n"
        )
        self.spawn("pmbmpd", "-f", config)
        wait_until(lambda: "waiting for BMP data" in self.said(), what="pmbmpd")
        return self

    def heard(self, kind=None, **fields):
        """The messages of a kind, such as peer_up, with these fields."""
        if not self.messages.exists():
            return []
        found = [json.loads(line) for line in self.messages.read_text().splitlines() if line.endswith("}")]
        found = [message for message in found if kind in (None, message.get("bmp_msg_type"))]
        return [message for message in found if all(message.get(name) == value for name, value in fields.items())]


class Station:
    """A collector of our own in a router's namespace, for what is on the wire; `reads` false never takes anything."""

    PROGRAM = """
import socket, sys, time
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if sys.argv[4] == "never": server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
server.bind((sys.argv[1], int(sys.argv[2])))
server.listen()
while True:
    peer, _ = server.accept()
    if sys.argv[4] == "never": time.sleep(3600)
    with open(sys.argv[3], "ab", 0) as file:
        file.truncate(0)
        while data := peer.recv(65536): file.write(data)
"""

    def __init__(self, lab, reads=True):
        need()
        self.link, self.space = lab.link()
        self.address = f"10.77.{self.link}.2"
        self.file = lab.directory / f"station{self.link}"
        self.reads = reads
        self.start()
        lab.routers.append(self)

    def start(self):
        command = ["ip", "netns", "exec", self.space, sys.executable, "-c", self.PROGRAM, self.address, str(PORT)]
        self.process = subprocess.Popen([*command, str(self.file), "always" if self.reads else "never"])

    def stop(self):
        self.process.kill()
        self.process.wait()

    def messages(self):
        """Each as its type and what is behind the common header."""
        data = self.file.read_bytes() if self.file.exists() else b""
        found, at = [], 0
        while len(data) - at >= 6:
            version, length, kind = struct.unpack(">BIB", data[at : at + 6])
            assert version == 3
            if len(data) - at < length:
                break
            found.append((kind, data[at + 6 : at + length]))
            at += length
        return found

    def kinds(self):
        return [kind for kind, _ in self.messages()]


def bmp(*stations, more="", retry="1s"):
    entries = "".join(
        f"      - {{name: s{station.link}, address: '{station.address}:{PORT}', retry: {retry}}}\n" for station in stations
    )
    return f"  bmp:\n{more}    collectors:\n{entries}"


def test_pmacct(lab):
    """The tables as they are, what comes and goes then, a peer that goes, and the goodbye."""
    station = Pmacct(lab)
    one = Bird(lab).start(
        channels="ipv4 ipv6", routes4=[f"{THEIRS} bgp_community.add((65001, 7));"], routes6=[SIX]
    )
    other = Bird(lab).start(routes4=[f"{THEIRS} bgp_path.prepend(4200000001);", "192.0.2.0/24"])
    six = {"families": "[ipv4, ipv6]", "nextHops": f"['{one.pop_address6}']"}
    settings = bmp(station, more="    statistics: 1s\n")
    pop = lab.start_pop(f"  announce: [{OURS}]\n{settings}  neighbors:\n{lab.neighbor(one, **six)}{lab.neighbor(other)}")
    for bird in (one, other):
        wait_state(pop, bird, "Established")
        wait_until(lambda bird=bird: received(pop, bird) == 2)

    # It comes when the tables are full.
    station.start()
    wait_until(lambda: len(station.heard("route_monitor", log_type="update")) == 4, what="the tables")
    (start,) = station.heard("init")
    assert start["bmp_init_info_sysname"] == "test1" and start["bmp_init_info_sysdescr"]
    ups = {up["peer_ip"]: up for up in station.heard("peer_up")}
    assert set(ups) == {one.address, other.address}
    up = ups[one.address]
    assert (up["peer_asn"], up["bgp_id"], up["local_ip"]) == (one.number, one.address, one.pop_address)
    assert 179 in (up["local_port"], up["remote_port"]) and up["is_post"] == 0
    routes = {(r["peer_ip"], r["ip_prefix"]): r for r in station.heard("route_monitor", log_type="update")}
    assert set(routes) == {(one.address, THEIRS), (one.address, SIX), (other.address, THEIRS), (other.address, "192.0.2.0/24")}
    best = routes[one.address, THEIRS]
    assert (best["as_path"], best["bgp_nexthop"], best["comms"]) == (str(one.number), one.address, "65001:7")
    assert routes[other.address, THEIRS]["as_path"] == f"{other.number} 4200000001"
    assert routes[one.address, SIX]["bgp_nexthop"] == one.address6
    assert all(route["is_post"] == 0 for route in routes.values())

    # What changes.
    other.ask("disable", "static1")
    wait_until(lambda: station.heard("route_monitor", log_type="withdraw", peer_ip=other.address, ip_prefix=THEIRS))
    reports = wait_until(lambda: station.heard("stats", peer_ip=other.address, counter_type=7, counter_value=0))
    assert reports
    here = mark(pop)
    other.kill()
    wait_state(pop, other, "Idle", here)
    (down,) = wait_until(lambda: station.heard("peer_down"))
    assert (down["peer_ip"], down["reason_type"]) == (other.address, 4)
    one.ask("disable", "pop")
    down = wait_until(lambda: station.heard("peer_down", peer_ip=one.address))
    assert down[0]["reason_type"] == 3
    one.ask("enable", "pop")
    wait_until(lambda: len(station.heard("peer_up", peer_ip=one.address)) == 2)
    wait_until(lambda: len(station.heard("route_monitor", log_type="update", peer_ip=one.address)) >= 4)
    pop.stop()
    wait_until(lambda: station.heard("term"))
    downs = station.heard("peer_down", peer_ip=one.address)
    assert [down["reason_type"] for down in downs] == [3, 1]


def dissect(directory, stream):
    """The packet lists of Wireshark's dissector."""
    need("tshark", "text2pcap")
    text = directory / "stream.txt"
    with text.open("w") as file:
        for start in range(0, len(stream), 1400):
            piece = stream[start : start + 1400]
            for offset in range(0, len(piece), 16):
                file.write(f"{offset:06x} {' '.join(f'{octet:02x}' for octet in piece[offset : offset + 16])}\n")
    capture = directory / "stream.pcap"
    subprocess.run(["text2pcap", "-q", "-T", f"40000,{PORT}", text, capture], check=True, capture_output=True)
    command = ["tshark", "-r", capture, "-d", f"tcp.port=={PORT},bmp", "-O", "bmp,bgp", "-V"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def watched(lab):
    """A station of our own, which has come when all was in the tables: what it was told, and its file."""
    station = Station(lab)
    one = Bird(lab).start(channels="ipv4 ipv6", routes4=[THEIRS], routes6=[SIX])
    two = Bird(lab).start(routes4=[THEIRS], others4=[f"{THEIRS} bgp_path.prepend(65100);"], channel="add paths tx;")
    six = {"families": "[ipv4, ipv6]", "nextHops": f"['{one.pop_address6}']"}
    entries = lab.neighbor(one, **six) + lab.neighbor(two, addPath="true")
    more = "    statistics: 1s\n"
    pop = lab.start_pop(f"{bmp(station, more=more)}  neighbors:\n{entries}")
    wait_until(lambda: received(pop, one) == 2 and received(pop, two) == 2)
    wait_until(lambda: STATISTICS in station.kinds())
    assert station.kinds()[0] == INITIATION and station.kinds().count(PEER_UP) == 2
    station.stop()
    station.file.unlink()
    station.start()
    wait_until(lambda: station.kinds().count(STATISTICS) >= 2)
    return station


def test_on_the_wire(lab):
    """Octet by octet: both OPENs, and an End-of-RIB of each family behind the tables."""
    station = watched(lab)
    (view,) = lab.show("monitoring", "--json")[0]["stations"]
    assert view["state"] == "following" and view["peers"] == 2 and view["cuts"] == view["queued"] == 0
    messages = station.messages()
    assert [kind for kind, _ in messages[:3]] == [INITIATION, PEER_UP, PEER_UP]
    for _, body in messages[1:3]:
        opens = body[42 + 20 :]
        length = struct.unpack(">H", opens[16:18])[0]
        assert opens[:16] == opens[length : length + 16] == b"\xff" * 16 and opens[18] == opens[length + 18] == 1
        assert len(opens) == length + struct.unpack(">H", opens[length + 16 : length + 18])[0]
    updates = [body[42:] for kind, body in messages if kind == ROUTE]
    assert all(update[18] == 2 and struct.unpack(">H", update[16:18])[0] == len(update) for update in updates)
    assert sorted(len(update) for update in updates if len(update) in (23, 29)) == [23, 23, 29]
    assert len(updates) == 7 and all(len(update) in (23, 29) for update in updates[-3:])


def test_wireshark(lab, tmp_path):
    """Its dissector finds nothing malformed, and all routes."""
    need("tshark", "text2pcap")
    station = watched(lab)
    text = dissect(tmp_path, station.file.read_bytes())
    assert "Malformed" not in text and text.count("Protocol, Type Peer Up Notification") == 2
    assert text.count("203.0.113.0/24") >= 3 and SIX in text and "Type Statistics Report" in text


class Talker:
    """A neighbor that announces more than a slow station can take, in messages of 4 KB."""

    PROGRAM = """
import socket, struct, sys, time
def message(kind, body): return b"\\xff" * 16 + struct.pack(">HB", 19 + len(body), kind) + body
number = int(sys.argv[3])
peer = socket.create_connection((sys.argv[1], 179), source_address=(sys.argv[2], 0))
peer.sendall(message(1, struct.pack(">BHH4sB", 4, number, 90, socket.inet_aton(sys.argv[2]), 0)) + message(4, b""))
peer.recv(4096)
fixed = bytes([0x40, 1, 1, 0, 0x40, 2, 4, 2, 1]) + struct.pack(">H", number) + bytes([0x40, 3, 4]) + socket.inet_aton(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(sys.argv[4])):
    communities = struct.pack(">I", i) * 990
    attributes = fixed + bytes([0xd0, 8]) + struct.pack(">H", len(communities)) + communities
    prefix = bytes([24, 10, i >> 8 & 255, i & 255])
    peer.sendall(message(2, b"\\0\\0" + struct.pack(">H", len(attributes)) + attributes + prefix))
print("done", flush=True)
while True:
    time.sleep(3)
    peer.sendall(message(4, b""))
"""

    def __init__(self, lab, count):
        self.link, space = lab.link()
        self.name, self.number = f"t{self.link}", 65000 + self.link
        self.address, self.address6 = f"10.77.{self.link}.2", f"fd77:{self.link}::2"
        self.arguments = ["ip", "netns", "exec", space, sys.executable, "-c", self.PROGRAM]
        self.arguments += [f"10.77.{self.link}.1", self.address, str(self.number), str(count)]
        self.process = None
        lab.routers.append(self)

    def start(self):
        self.process = subprocess.Popen(self.arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def talk(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()


def memory(pop):
    """Resident megabytes."""
    found = [line for line in open(f"/proc/{pop.process.pid}/status") if line.startswith("VmRSS")]
    return int(found[0].split()[1]) >> 10


def test_a_station_that_takes_nothing(lab):
    """It is cut off when its queue is full, which is said; the session and the other station notice nothing."""
    need()
    count = 8000
    slow, quick, talker = Station(lab, reads=False), Station(lab), Talker(lab, count)
    entries = lab.neighbor(talker, passive="true", holdTime="90s")
    pop = lab.start_pop(f"{bmp(slow, quick, more='    queue: 4' + chr(10))}  neighbors:\n{entries}")
    wait_until(lambda: len(lines(pop, "BMP station connected")) == 2)
    talker.start()
    wait_until(lambda: quick.kinds().count(PEER_UP) == 1)
    talker.talk()
    wait_until(lambda: received(pop, talker) == count, 60)
    wait_until(lambda: quick.kinds().count(ROUTE) >= count, 60)
    assert quick.kinds().count(ROUTE) == count
    lost = [line for line in lines(pop, "BMP station lost") if line["station"] == f"s{slow.link}"]
    assert lost and "too slow" in lost[0]["error"] and "told anew" in lost[0]["error"]
    stations = {view["name"]: view for view in lab.show("monitoring", "--json")[0]["stations"]}
    assert stations[f"s{slow.link}"]["cuts"] >= 1 and stations[f"s{quick.link}"]["cuts"] == 0
    assert stations[f"s{slow.link}"]["queued"] <= 5 << 20
    text = lab.show("monitoring")
    assert f"s{slow.link}" in text and "too slow" in text
    assert memory(pop) < 400
