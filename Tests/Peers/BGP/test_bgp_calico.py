"""cbpop beside the nodes of a Kubernetes cluster whose BIRD is configured as Calico does it: as a member of the mesh, and as the
router above the rack, with the mesh off and an AS for each node, or with the mesh as it is. Nothing of the nodes' configuration
is there for cbpop's sake but its address."""

import concurrent.futures
import contextlib
import re
import socket
import threading
import time

import pytest
from namespaces import inside
from routers import Bird, Lab, kernel, mark, need, received, run, states, wait_state

from conftest import wait_until

OURS = "198.51.100.0/24"
ANYCAST = "198.51.100.1"
CLUSTER_AS = 64512
RACK_AS = 65001
POOL = "10.244.0.0/16"
# Of the cluster's services, which every node announces.
SERVICES = "10.96.0.0/24"


class Rack(Lab):
    """cbpop and the nodes on one Ethernet, 10.77.100.0/24."""

    def __init__(self, directory, pop_address):
        super().__init__(directory)
        self.pop_address = pop_address
        self.switch = self._space("sw")
        run("ip", "-n", self.switch, "link", "add", "bridge0", "type", "bridge", "forward_delay", 0)
        run("ip", "-n", self.switch, "link", "set", "bridge0", "up")
        self.attach(self.space, pop_address)
        run("ip", "-n", self.space, "addr", "add", f"{ANYCAST}/32", "dev", "lo")
        run("ip", "netns", "exec", self.space, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        Echo(self.space, ANYCAST)

    def attach(self, space, address):
        port = f"p{len(self.namespaces)}-{address.rsplit('.', 1)[1]}"
        run("ip", "link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", port, "netns", self.switch)
        run("ip", "-n", self.switch, "link", "set", port, "master", "bridge0", "up")
        run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", space, "link", "set", "eth0", "up")
        return port


class Node(Bird):
    """A node with two blocks of the pool, and pods in the first."""

    def __init__(self, lab, host, number):
        # Not Router's: it has no link of its own.
        need("bird", "birdc")
        self.lab = lab
        self.name = f"node{host}"
        self.number = number
        self.address = f"10.77.100.{host}"
        self.space = lab._space(self.name)
        self.port = lab.attach(self.space, self.address)
        self.blocks = [f"10.244.{host}.0/26", f"10.244.{host}.64/26"]
        self.pod = f"10.244.{host}.2"
        self.directory = lab.directory / self.name
        self.directory.mkdir()
        self.config = self.directory / "bird.cfg"
        self.socket = self.directory / "ctl"
        self.process = None
        lab.routers.append(self)
        run("ip", "netns", "exec", self.space, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        # A pod, seen from outside, and its interface, whose route BIRD learns from the kernel.
        run("ip", "-n", self.space, "link", "add", "cali1", "type", "veth", "peer", "name", "pod")
        run("ip", "-n", self.space, "link", "set", "cali1", "up")
        run("ip", "-n", self.space, "link", "set", "pod", "up")
        run("ip", "-n", self.space, "route", "add", f"10.244.{host}.3/32", "dev", "cali1")
        run("ip", "-n", self.space, "addr", "add", f"{self.pod}/32", "dev", "lo")
        Echo(self.space, self.pod)

    def configure(self, mesh, others="", community=None):
        """`mesh` is of addresses; `others` is text of further peers."""
        (self.directory / "bird_aggr.cfg").write_text(AGGREGATION.format(
            statics="\n".join(f"   route {block} blackhole;" for block in [*self.blocks, SERVICES]),
            rules="\n".join(
                f"  if ( net = {block} ) then {{ accept; }}\n  if ( net ~ {block} ) then {{ reject; }}" for block in self.blocks
            ),
        ))
        (self.directory / "bird_ipam.cfg").write_text(EXPORTS.format(pool=POOL, services=SERVICES))
        peers = "".join(
            MESH.format(name=address.replace(".", "_"), peer=address, number=CLUSTER_AS, node=self.address,
                        # As the template has it, by the order of texts: one end of each pair connects.
                        passive="  passive on;\n" if address > self.address else "")
            for address in mesh if address != self.address
        )
        communities = f"  bgp_community.add(({community}));\n" if community else ""
        self.config.write_text(
            CONFIG.format(log=self.directory / "log", node=self.address, number=self.number, peers=peers + others, communities=communities)
        )

    def start(self):
        """As a node does it: `-R` is for its own restarts."""
        self.socket.unlink(missing_ok=True)
        self.spawn("bird", "-R", "-f", "-c", self.config, "-s", self.socket)
        wait_until(lambda: self.socket.exists() and "BIRD" in self.ask("show status"), what="bird")
        return self

    def route(self, prefix):
        text = self.ask(f"show route all for {prefix}")
        return text if prefix in text else None

    def reaches(self, address, count=1):
        """How many of so many datagrams of a pod come back."""
        return echoes(self.space, address, count, self.pod)


class Echo:
    """Sends back what comes, on UDP port 7 of an address."""

    def __init__(self, space, address):
        with inside(space):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 7))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                data, sender = self.socket.recvfrom(100)
                self.socket.sendto(data, sender)


def echoes(space, address, count=1, source=None):
    """How many of so many datagrams, 50 ms apart, come back."""
    with inside(space):
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with own:
        own.settimeout(0.05)
        if source:
            own.bind((source, 0))
        seen = set()
        for number in range(count):
            began = time.monotonic()
            with contextlib.suppress(OSError):
                own.sendto(str(number).encode(), (address, 7))
                while True:
                    seen.add(own.recv(100))
                    if number + 1 < count:
                        time.sleep(max(0, began + 0.05 - time.monotonic()))
                        break
                    if len(seen) == count:
                        break
        return len(seen)


AGGREGATION = """
protocol static {{
   ipv4;
{statics}
}}

function calico_aggr ()
{{
{rules}
}}
"""

EXPORTS = """
function reject_disabled_pools ()
{{
  if ( net ~ 10.250.0.0/16 ) then {{ reject; }}
}}

function reject_tunnel_routes ()
{{
  if ( defined(ifname) ) then {{
    if ( (ifname ~ "*.cali") || (ifname ~ "*.calico") ) then {{ reject; }}
  }}
}}

function calico_export_to_bgp_peers (bool internal_peer)
{{
  reject_disabled_pools();
  if ( internal_peer ) then {{ reject_tunnel_routes(); }}
  apply_communities();
  calico_aggr();
  if ( net ~ {services} ) then {{ accept; }}
  if ( net ~ {pool} ) then {{ accept; }}
}}

filter calico_kernel_programming
{{
  if ( net ~ {services} ) then {{ reject; }}
  accept;
}}
"""

CONFIG = """
log "{log}" all;

function apply_communities ()
{{
{communities}}}

include "bird_aggr.cfg";
include "bird_ipam.cfg";

router id {node};

protocol kernel {{
  learn;
  persist;
  scan time 2;
  merge paths on;
  graceful restart;
  ipv4 {{
    import all;
    export filter calico_kernel_programming;
  }};
}}

protocol device {{
  scan time 2;
}}

protocol direct {{
  debug {{ states }};
  ipv4;
  interface -"cali*", -"kube-ipvs*", "*";
}}

protocol bfd {{
  debug {{ states }};
  interface -"cali*", -"kube-ipvs*", "*" {{
    interval 500 ms;
    idle tx interval 2000 ms;
    multiplier 16;
  }};
  multihop {{
    interval 500 ms;
    idle tx interval 2000 ms;
    multiplier 16;
  }};
}}

template bgp bgp_template {{
  debug {{ states }};
  description "Connection to BGP peer";
  local as {number};
  multihop;
  graceful restart;
  connect delay time 1;
  connect retry time 3;
  error wait time 5,60;
  ipv4 {{
    gateway recursive;
    import all;
    export filter {{ calico_export_to_bgp_peers(true); reject; }};
    next hop self;
    add paths on;
  }};
}}
{peers}"""

MESH = """
protocol bgp Mesh_{name} from bgp_template {{
  neighbor {peer} as {number};
  source address {node};
{passive}  graceful restart time 120;
  bfd graceful;
}}
"""

# A peer of all nodes that is none of them, with what its own table may change.
GLOBAL = """
protocol bgp Global_{name} from bgp_template {{
  neighbor {peer} as {number};
  ipv4 {{ export filter {{ calico_export_to_bgp_peers(false); reject; }}; }};
}}
"""


class Cluster:
    """Three nodes and cbpop, all of them up."""

    hosts = (11, 12, 13)

    def __init__(self, lab, kind):
        self.lab = lab
        self.is_inside = kind == "mesh"
        # As in Calico's model of an AS for each server, where there is no mesh.
        self.nodes = [Node(lab, host, 64600 + host if kind == "rack" else CLUSTER_AS) for host in self.hosts]
        # What each tells us: its own, and what the others have told it, of the services all three ways (ADD-PATH).
        self.count = 9 if kind == "rack and mesh" else 3
        name = lab.pop_address.replace(".", "_")
        self.mesh = [] if kind == "rack" else [node.address for node in self.nodes] + [lab.pop_address] * self.is_inside
        self.others = "" if self.is_inside else GLOBAL.format(name=name, peer=lab.pop_address, number=RACK_AS)
        for node in self.nodes:
            node.configure(self.mesh, self.others)
        for node in self.nodes:
            node.start()
        settings = {"restartTime": "120s", "addPath": "true"} | ({"transit": "true"} if kind == "rack" else {})
        neighbors = "".join(
            lab.neighbor(node, **settings, passive=str(self.is_inside and lab.pop_address < node.address).lower())
            for node in self.nodes
        )
        self.pop = lab.start_pop(
            f"  announce: [{OURS}]\n  shutdownDelay: 1s\n  kernel:\n    on: true\n  neighbors:\n{neighbors}",
            number=CLUSTER_AS if self.is_inside else RACK_AS,
        )
        self.wait()

    def wait(self, timeout=40):
        """Until everyone knows everything."""
        for node in self.nodes:
            wait_until(lambda node=node: received(self.pop, node) == self.count, timeout, f"the blocks of {node.name} at ours")
            wait_until(lambda node=node: node.route(OURS), timeout, f"our prefix at {node.name}")
            wait_until(lambda node=node: all(node.route(b) for n in self.nodes for b in n.blocks), timeout, f"the mesh at {node.name}")

    def blocks(self, *nodes):
        return {block: {node.address} for node in nodes or self.nodes for block in node.blocks}

    def forwarded(self):
        """What the PoP's kernel has of the nodes, but for the services."""
        return {prefix: hops for prefix, hops in kernel(self.lab, "proto", 203).items() if prefix != SERVICES}

    def best(self, prefix):
        (found,) = self.lab.show("why", prefix, "--json")
        return found["routes"][0]


@pytest.fixture
def racks(tmp_path):
    """Makes labs; `pop_address` decides, by the order of texts, which end connects within the mesh."""
    need("bird", "birdc")
    made = []

    def make(pop_address="10.77.100.1"):
        made.append(Rack(tmp_path, pop_address))
        return made[-1]

    yield make
    for lab in made:
        lab.close()


@pytest.mark.parametrize(
    ("kind", "pop_address"), [("rack", "10.77.100.1"), ("mesh", "10.77.100.1"), ("mesh", "10.77.100.200")],
    ids=["above the rack", "in the mesh, waiting", "in the mesh, connecting"],
)
def test_blocks_come_and_the_anycast_prefix_goes(racks, kind, pop_address):
    lab = racks(pop_address)
    cluster = Cluster(lab, kind)
    for node in cluster.nodes:
        # Nothing below a block, and neither the learned nor the direct routes.
        routes = lab.show("routes", "--neighbor", node.name, "--json")
        assert sorted(route["prefix"] for route in routes) == sorted([*node.blocks, SERVICES])
        for block in node.blocks:
            best = cluster.best(block)
            assert best["nextHop"] == node.address and best["asPath"] == ("" if kind == "mesh" else str(node.number))
        ours = node.route(OURS)
        assert f"via {pop_address} on eth0" in ours
        assert re.search(r"BGP.as_path: *$" if kind == "mesh" else rf"BGP.as_path: {RACK_AS}$", ours, re.M)
        for other in cluster.nodes:
            if other is not node:
                # Within the mesh each knows the others by themselves; without, it is we who pass them on.
                hop = other.address if kind == "mesh" else pop_address
                assert f"via {hop} on eth0" in node.route(other.blocks[0])
                assert node.reaches(other.pod) == 1
    wait_until(lambda: cluster.forwarded() == cluster.blocks(), what="the blocks in our kernel")
    assert kernel(lab, SERVICES)[SERVICES] == {node.address for node in cluster.nodes}
    for node in cluster.nodes:
        assert echoes(lab.space, node.pod) == 1
        wait_until(lambda node=node: node.reaches(ANYCAST) == 1, 5, f"an answer for {node.name}'s pod")
        assert states(cluster.pop, node)[-1] == ("Established", None)


def test_above_a_rack_whose_mesh_goes_on(racks):
    """Every node tells us of all blocks, with itself as next hop: many ways, and each of them leads there."""
    cluster = Cluster(racks(), "rack and mesh")
    every = {node.address for node in cluster.nodes}
    wait_until(lambda: cluster.forwarded() == {block: every for block in cluster.blocks()}, what="three ways to each block")
    for node in cluster.nodes:
        assert cluster.best(node.blocks[0])["asPath"] == str(CLUSTER_AS)
        assert echoes(cluster.lab.space, node.pod, 5) == 5
        assert node.reaches(ANYCAST) == 1
    gone, *rest = cluster.nodes
    gone.stop()
    wait_until(lambda: not set(gone.blocks) & set(cluster.forwarded()), 5, "the end of the node's blocks")
    assert set(cluster.forwarded()) == set(cluster.blocks(*rest))


@pytest.mark.parametrize("kind", ["rack", "mesh"])
def test_a_node_restarts_and_forwarding_goes_on(racks, kind):
    cluster = Cluster(racks(), kind)
    node = cluster.nodes[0]
    wait_until(lambda: cluster.forwarded() == cluster.blocks(), what="the blocks in our kernel")
    since = mark(cluster.pop)
    watch = concurrent.futures.ThreadPoolExecutor().submit(echoes, cluster.lab.space, node.pod, 160)
    time.sleep(0.5)
    node.kill()
    wait_state(cluster.pop, node, "Idle", since)
    assert cluster.best(node.blocks[0])["isStale"] and cluster.forwarded() == cluster.blocks()
    time.sleep(1)
    since = mark(cluster.pop)
    node.start()
    wait_state(cluster.pop, node, "Established", since, 30)
    wait_until(lambda: not cluster.best(node.blocks[0])["isStale"], 20, "the end of the restart")
    assert watch.result() == 160
    assert cluster.forwarded() == cluster.blocks()
    cluster.wait()


@pytest.mark.parametrize("kind", ["rack", "mesh"])
def test_we_restart_and_forwarding_goes_on(racks, kind):
    cluster = Cluster(racks(), kind)
    node = cluster.nodes[0]
    wait_until(lambda: node.reaches(ANYCAST) == 1, 5)
    cluster.pop.kill()
    for _ in range(20):
        assert all(node.route(OURS) for node in cluster.nodes)
        time.sleep(0.05)
    assert node.reaches(ANYCAST, 10) == 10
    assert cluster.forwarded() == cluster.blocks()
    cluster.pop.start()
    for node in cluster.nodes:
        wait_state(cluster.pop, node, "Established", timeout=30)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert all(node.route(OURS) for node in cluster.nodes) and cluster.forwarded() == cluster.blocks()
        time.sleep(0.1)
    cluster.wait()


@pytest.mark.parametrize("kind", ["rack", "mesh"])
def test_all_restart_together(racks, kind):
    """calico #7144: none waits for long for the End-of-RIB of one that waits itself."""
    cluster = Cluster(racks(), kind)
    for node in cluster.nodes:
        node.kill()
    cluster.pop.kill()
    for node in cluster.nodes:
        node.start()
    cluster.pop.start()
    cluster.wait(30)
    wait_until(lambda: cluster.forwarded() == cluster.blocks(), what="the blocks in our kernel")


@pytest.mark.parametrize("kind", ["rack", "mesh"])
def test_a_node_that_leaves_takes_its_blocks_with_it(racks, kind):
    cluster = Cluster(racks(), kind)
    leaving, dying, staying = cluster.nodes
    wait_until(lambda: cluster.forwarded() == cluster.blocks(), what="the blocks in our kernel")
    # It says goodbye: no grace.
    leaving.stop()
    wait_until(lambda: cluster.forwarded() == cluster.blocks(dying, staying), 3, "the end of the node's blocks")
    # calico #4607: it is cut off, and says nothing. The hold time that we ask for, not that of the nodes, is how long its
    # blocks stay; grace is for restarts of which TCP tells.
    since = mark(cluster.pop)
    run("ip", "-n", cluster.lab.switch, "link", "set", dying.port, "down")
    assert "Hold Timer Expired" in wait_state(cluster.pop, dying, "Idle", since, 15)
    wait_until(lambda: cluster.forwarded() == cluster.blocks(staying), 3, "the end of the silent node's blocks")
    assert kernel(cluster.lab, SERVICES)[SERVICES] == {staying.address}
    # And back.
    run("ip", "-n", cluster.lab.switch, "link", "set", dying.port, "up")
    leaving.start()
    cluster.wait(90)
    wait_until(lambda: cluster.forwarded() == cluster.blocks(), what="all blocks in our kernel")


@pytest.mark.parametrize("kind", ["rack", "mesh"])
def test_a_node_that_is_drained_is_avoided(racks, kind):
    """calico #8442: GRACEFUL_SHUTDOWN (RFC 8326) makes its route to the services the last resort."""
    cluster = Cluster(racks(), kind)
    drained, *rest = cluster.nodes
    wait_until(lambda: kernel(cluster.lab, SERVICES)[SERVICES] == {node.address for node in cluster.nodes}, what="three ways")
    drained.configure(cluster.mesh, cluster.others, community="65535, 0")
    assert "Reconfigured" in drained.ask("configure")
    wait_until(lambda: kernel(cluster.lab, SERVICES)[SERVICES] == {node.address for node in rest}, 10, "the ways that are left")
    # What only it has stays reachable.
    assert cluster.forwarded() == cluster.blocks()


def test_a_block_that_moves_and_one_that_is_released(racks):
    """A block's affinity goes to another node."""
    cluster = Cluster(racks(), "mesh")
    one, other, _ = cluster.nodes
    moved = one.blocks.pop()
    other.blocks.append(moved)
    for node in (other, one):
        node.configure(cluster.mesh, cluster.others)
        assert "Reconfigured" in node.ask("configure")
    wait_until(lambda: cluster.forwarded() == cluster.blocks(), 10, "the block at its new node")
    other.blocks.remove(moved)
    other.configure(cluster.mesh, cluster.others)
    other.ask("configure")
    wait_until(lambda: moved not in cluster.forwarded(), 10, "the end of the block")
