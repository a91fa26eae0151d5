"""The files that cbpop serves by pages.directory, to an HTTP/3 stack that no one here wrote."""

import asyncio
import os
import subprocess
import time

import pytest
from aioquic.asyncio import connect
from h3peer import H3Client, client_configuration, h3_client
from link import Conditions, Link
from test_qlog import records

from conftest import BIN, PoP


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 40))


LARGE = os.urandom(6_000_000)
PAGES = {
    "index.html": b"<h1>home</h1>",
    "docs/index.html": b"docs",
    "large.bin": LARGE,
    "healthz": b"not me",
    ".secret": b"secret",
    **{name: name.encode() * 60_000 for name in "abcde"},
}


def site(directory):
    for name, content in PAGES.items():
        file = directory / "www" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return f"pages: {{directory: {directory / 'www'}}}\n"


@pytest.fixture(scope="module")
def pages_pop(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pages")
    pop = PoP(directory, site(directory)).start()
    yield pop
    pop.stop()


async def fetch(client, path, extra=(), method="GET"):
    _, exchange = client.request(
        [(":method", method), (":scheme", "https"), (":authority", "cloudbridge.test"), (":path", path), *extra]
    )
    await exchange.until(lambda e: e.ended, timeout=30)
    assert exchange.reset is None
    return exchange


def test_files_and_nothing_else(pages_pop):
    async def story():
        async with h3_client("127.0.0.1", pages_pop.quic_port, pages_pop.ca) as client:
            home = await fetch(client, "/")
            assert home.headers[":status"] == "200" and home.body == PAGES["index.html"]
            assert home.headers["content-type"] == "text/html; charset=utf-8"
            assert home.headers["date"].endswith(" GMT")
            kept = await fetch(client, "/", [("if-none-match", f'"x", {home.headers["etag"]}')])
            assert kept.headers[":status"] == "304" and kept.body == b""
            moved = await fetch(client, "/docs?q")
            assert moved.headers[":status"] == "308" and moved.headers["location"] == "/docs/?q"
            assert (await fetch(client, "/docs/")).body == b"docs"
            large = await fetch(client, "/large.bin")
            assert large.headers["content-length"] == str(len(LARGE)) and large.body == LARGE
            # A PoP's own pages stay, whatever the files are called.
            assert (await fetch(client, "/healthz")).body == b"ok\n"
            assert (await fetch(client, "/.well-known/cloudbridge/session")).headers[":status"] == "401"
            for path in ["/.secret", "/../cbpop.yaml", "/%2e%2e/cbpop.yaml", "/docs/..%2f.secret", "/nothing", "//"]:
                assert (await fetch(client, path)).headers[":status"] == "404", path
            assert (await fetch(client, "/", method="POST")).headers[":status"] == "405"

    run(story())


def test_an_upload_to_a_page_is_not_waited_for(pages_pop):
    async def story():
        async with h3_client("127.0.0.1", pages_pop.quic_port, pages_pop.ca) as client:
            # Given up at once, and the connection goes on.
            unwanted, _ = client.get("cloudbridge.test", "/large.bin")
            client._quic.stop_stream(unwanted, 0x10C)
            client.transmit()
            stream, uploading = client.request(
                [(":method", "GET"), (":scheme", "https"), (":authority", "cloudbridge.test"), (":path", "/")], end=False
            )
            client.send(stream, b"x" * 100_000)
            await uploading.until(lambda e: len(e.body) == len(PAGES["index.html"]))
            assert (await fetch(client, "/docs/")).body == b"docs"

    run(story())


def test_what_is_urgent_comes_first(tmp_path):
    """RFC 9218: by urgency; within one, in the order of the streams, or in turns where the client uses parts."""
    qlogs = tmp_path / "qlog"
    qlogs.mkdir()
    pop = PoP(tmp_path, site(tmp_path) + f"transport: {{qlogDirectory: {qlogs}}}\n").start()

    async def story():
        configuration = client_configuration(pop.ca)
        # No room for any content, until all requests have been answered.
        configuration.max_data = 100
        async with connect("127.0.0.1", pop.quic_port, configuration=configuration, create_protocol=H3Client) as client:
            asked = {}
            raise_limits = client._quic._write_connection_limits
            client._quic._write_connection_limits = lambda **_: None
            for name, priority in [("a", "u=5"), ("b", "u=2, i"), ("c", "u=2, i"), ("d", "u=1"), ("e", "u=1")]:
                stream, exchange = client.get("cloudbridge.test", f"/{name}", [("priority", priority)])
                asked[name] = (stream, exchange)
            await asyncio.sleep(0.5)
            client._quic._write_connection_limits = raise_limits
            client._quic._local_max_data.value = 10_000_000
            client.transmit()
            for name, (_, exchange) in asked.items():
                await exchange.until(lambda e: e.ended)
                assert exchange.body == PAGES[name]
        return {stream: name for name, (stream, _) in asked.items()}

    try:
        names = run(story())
    finally:
        pop.stop()
    # In the order in which it was first sent, whatever was lost afterwards.
    [log] = qlogs.iterdir()
    order = []
    ends = {}
    for event in records(log)[1:]:
        if event["name"] == "quic:packet_sent":
            for frame in event["data"]["frames"]:
                if frame["frame_type"] == "stream" and frame["stream_id"] in names:
                    name, end = names[frame["stream_id"]], frame["offset"] + frame["raw"]["payload_length"]
                    if end > max(ends.get(name, 0), 1_000):
                        order.append(name)
                    ends[name] = max(end, ends.get(name, 0))
    last = {name: max(i for i, n in enumerate(order) if n == name) for name in "abcde"}
    assert last["d"] < last["e"] < min(last["b"], last["c"]) < max(last["b"], last["c"]) < last["a"]
    # What is not incremental is sent whole, but for the packet in sixteen that the less urgent have.
    assert order[: last["d"]].count("d") > 0.9 * last["d"] and "e" not in order[: last["d"]]
    # What is incremental comes in turns.
    turns = [name for name in order if name in "bc"][10:-10]
    assert sum(one != next for one, next in zip(turns, turns[1:])) > 0.9 * len(turns)


def test_a_page_on_its_way_outlives_the_time_to_sign_in(tmp_path):
    pop = PoP(tmp_path, site(tmp_path) + "limits: {signInTimeout: 1s}\n").start("--log-level", "debug")
    # Some three seconds for all of it.
    link = Link(("127.0.0.1", pop.quic_port), Conditions(delay=0.01, rate=16e6, queue=100)).open()

    async def story():
        async with h3_client("127.0.0.1", link.port, pop.ca) as client:
            begin = time.monotonic()
            large = await fetch(client, "/large.bin")
            assert large.body == LARGE and time.monotonic() - begin > 2
            # With nothing on its way the time is up.
            await asyncio.wait_for(client.wait_closed(), 5)
            assert client.terminated.reason_phrase == "no valid token came in time"

    try:
        run(story())
    finally:
        link.close()
        pop.stop()


def test_a_client_that_takes_nothing_of_a_page_is_not_waited_for(tmp_path):
    pop = PoP(tmp_path, site(tmp_path) + "limits: {signInTimeout: 1s}\n").start()

    async def story():
        configuration = client_configuration(pop.ca)
        configuration.max_stream_data = 1_000
        async with connect(
            "127.0.0.1", pop.quic_port, configuration=configuration, create_protocol=H3Client
        ) as client:
            client._quic._write_stream_limits = lambda **_: None
            _, exchange = client.get("cloudbridge.test", "/large.bin")
            await asyncio.wait_for(client.wait_closed(), 5)
            assert len(exchange.body) < 2_000
            assert client.terminated.reason_phrase == "no valid token came in time"

    try:
        run(story())
    finally:
        pop.stop()


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda www: None, "No such directory"),
        (lambda www: www.write_text("x"), "It is not a directory"),
        (lambda www: (www.mkdir(), (www / "link").symlink_to("/etc/passwd")), "leads to no file within the directory"),
        (lambda www: (www.mkdir(), os.truncate(os.open(www / "big", os.O_CREAT | os.O_WRONLY), (64 << 20) + 1)),
         "makes more than the 67108864 bytes that are kept in memory"),
    ],
)
def test_what_cannot_be_served_is_said_at_start(tmp_path, make, reason):
    pop = PoP(tmp_path, f"pages: {{directory: {tmp_path / 'www'}}}\n")
    make(tmp_path / "www")
    run = subprocess.run(
        [BIN / "cbpop", "--dev", "--config", pop.config, "--state-directory", pop.state],
        capture_output=True, text=True, timeout=30)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("cbpop: pages.directory: ") and reason in run.stderr
