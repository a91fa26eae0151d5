"""`cbpop stop --graceful-restart`: a PoP that goes away by will and is back, without its neighbors or the kernel losing a route."""

import contextlib
import re
import socket
import subprocess
import threading
import time

from namespaces import call_inside
from routers import Bird, kernel, mark, run, wait_state
from test_bgp_edge import WatchedBird, bfd_is_fast

from conftest import BIN, wait_until

OURS = "198.51.100.0/24"
THEIRS = "203.0.113.0/24"


def stop(lab, *flags):
    return subprocess.run(
        [BIN / "cbpop", "stop", *flags, "--socket", lab.socket], capture_output=True, text=True, timeout=30
    )


def leave(lab):
    """Gone for a restart; what the operator was told."""
    done = stop(lab, "--graceful-restart")
    assert done.returncode == 0, done.stderr
    assert lab.pop.process.wait(20) == 0
    return done.stdout


def start(lab, *routers, bgp=f"  announce: [{OURS}]\n", **settings):
    entries = "".join(lab.neighbor(router, **({"restartTime": "30s"} | settings)) for router in routers)
    pop = lab.start_pop(f"{bgp}  shutdownDelay: 1s\n  kernel:\n    on: true\n  neighbors:\n{entries}")
    for router in routers:
        wait_state(pop, router, "Established")
    return pop


@contextlib.contextmanager
def asking(asker, answerer, address):
    """How many of the datagrams that are sent all the while stay without an answer."""
    server = call_inside(answerer.space, socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    client = call_inside(asker.space, socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    over = threading.Event()

    def answer():
        with contextlib.suppress(TimeoutError):
            while True:
                server.sendto(*server.recvfrom(64))

    def ask():
        while not over.is_set():
            client.send(b"?")
            try:
                client.recv(64)
                answers.append(True)
            except TimeoutError:
                answers.append(False)
            time.sleep(0.02)

    answers = []
    with server, client:
        server.bind((address, 7))
        server.settimeout(5)
        client.connect((address, 7))
        client.settimeout(1)
        threads = [threading.Thread(target=answer), threading.Thread(target=ask)]
        for thread in threads:
            thread.start()
        try:
            yield answers
        finally:
            over.set()
            for thread in threads:
                thread.join()


def test_neighbors_and_the_kernel_go_on_as_if_nothing_were(lab):
    """With BFD too. BIRD 2.0 takes our AdminDown for a failure, against RFC 5882 §3.2; so it is told to let the grace
    outlive one."""
    one, two = WatchedBird(lab), Bird(lab)
    run("ip", "netns", "exec", lab.space, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    run("ip", "-n", two.space, "addr", "add", "203.0.113.1/32", "dev", "lo")
    run("ip", "-n", one.space, "route", "add", THEIRS, "via", one.pop_address)
    run("ip", "-n", two.space, "route", "add", f"{one.address}/32", "via", two.pop_address)
    Bird.start(one, "bfd graceful;")
    two.start(routes4=[THEIRS])
    pop = start(lab, one, two, transit="true", bfd="true")
    wait_until(lambda: one.route(OURS) and one.route(THEIRS) and two.route(OURS), what="all routes")
    wait_until(lambda: kernel(lab, "proto", 203) == {THEIRS: {two.address}}, what="the way in the kernel")
    wait_until(lambda: bfd_is_fast(one), what="BFD at its pace")
    with asking(one, two, "203.0.113.1") as answers:
        said = leave(lab)
        assert said == f"{one.name} keeps our routes for 30 s\n{two.name} keeps our routes for 30 s\n"
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert one.route(OURS) and one.route(THEIRS) and two.route(OURS)
            assert kernel(lab, "proto", 203) == {THEIRS: {two.address}}
            time.sleep(0.1)
        assert not one.is_up() and not two.is_up()
        pop.start()
        for router in (one, two):
            wait_state(pop, router, "Established")
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert one.route(OURS) and one.route(THEIRS) and two.route(OURS)
            assert kernel(lab, "proto", 203) == {THEIRS: {two.address}}
            time.sleep(0.1)
    assert len(answers) > 50 and all(answers)
    for router in (one, two):
        details = router.ask("show protocols all pop")
        assert "Graceful restart" in details and "Error" not in details.split("Neighbor capabilities")[0]
        # The route is as one that has just come, and no stale one of before.
        assert not re.search(r"stale|\(s\)", router.ask(f"show route protocol pop for {OURS}"))


def test_a_neighbor_that_has_not_agreed_is_told_goodbye(lab):
    keeps, drops = Bird(lab).start(), Bird(lab).start("graceful restart off;")
    start(lab, keeps, drops)
    wait_until(lambda: keeps.route(OURS) and drops.route(OURS), what="our route at both")
    said = leave(lab)
    assert said == f"{keeps.name} keeps our routes for 30 s\n{drops.name} drops our routes: it has no graceful restart\n"
    assert keeps.route(OURS) and drops.route(OURS) is None
    assert "the PoP restarts" in drops.said()


def test_a_dead_service_is_not_kept(lab):
    """Neither by one that goes nor by one that is back."""
    bird = Bird(lab).start()
    app = lab.directory / "app-is-well"
    app.touch()
    pop = start(
        lab, bird, bgp=f"""  announcements:
    - name: web
      prefixes: [{OURS}]
  health:
    recoveryDelay: 100ms
    commands: [{{name: app, command: [/usr/bin/test, -e, {app}], interval: 200ms}}]
""",
    )
    wait_until(lambda: bird.route(OURS), what="our route")
    app.unlink()
    wait_until(lambda: bird.route(OURS) is None, what="its end")
    done = stop(lab, "--graceful-restart")
    assert done.returncode == 1 and pop.process.poll() is None
    assert "no graceful restart: neighbors would go on sending to what is not well" in done.stderr
    assert "web is down (unhealthy: app)" in done.stderr
    app.touch()
    wait_until(lambda: bird.route(OURS), what="our route again")
    leave(lab)
    app.unlink()
    assert bird.route(OURS)
    pop.start()
    wait_until(lambda: bird.route(OURS) is None, 20, "the end of what was kept")
    assert bird.is_up()


def test_without_graceful_restart_it_is_refused(lab):
    bird = Bird(lab).start()
    pop = start(lab, bird, restartTime=None)
    since = mark(pop)
    done = stop(lab, "--graceful-restart")
    assert done.returncode == 1
    assert f"no neighbor would keep our routes; {bird.name}: restartTime is not set" in done.stderr
    assert bird.is_up() and "BGP state" not in pop.log.text[since:]


def test_a_stop_without_the_flag_is_a_goodbye(lab):
    bird = Bird(lab).start()
    pop = start(lab, bird)
    wait_until(lambda: bird.route(OURS), what="our route")
    done = stop(lab)
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert pop.process.wait(20) == 0
    assert bird.route(OURS) is None and "the PoP stops" in bird.said()
    done = stop(lab)
    assert done.returncode == 1 and "no PoP runs here" in done.stderr
