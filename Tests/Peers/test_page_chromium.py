"""Chromium loads a page of a hundred objects from a real cbpop; its next visits begin in 0-RTT, taken or refused."""

import pytest
from chromium import PROGRAM, Chromium, public_key_digest
from hundred import color, write_page
from link import Conditions, Link
from test_qlog import records

from conftest import PoP

HOST = "pop.cloudbridge.test"

LOOK = """({
  title: document.title,
  scripts: window.scripts,
  resources: performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))
    .map(e => ({name: e.name, protocol: e.nextHopProtocol, status: e.responseStatus, bytes: e.encodedBodySize})),
  borders: Array.from(document.images).slice(0, 20).map(i => getComputedStyle(i).borderTopColor),
  pixels: Array.from(document.images).map(i => {
    const canvas = document.createElement('canvas').getContext('2d')
    canvas.drawImage(i, 0, 0)
    return Array.from(canvas.getImageData(31, 31, 1, 1).data)
  }),
})"""


@pytest.mark.skipif(PROGRAM is None, reason="NOT TESTED WITH CHROMIUM: it is not installed")
def test_chromium_loads_a_page_of_a_hundred_objects_and_comes_back_in_0_rtt(tmp_path):
    files = write_page(tmp_path / "www" / "page")
    qlogs = tmp_path / "qlog"
    qlogs.mkdir()
    pop = PoP(
        tmp_path,
        f"pages: {{directory: {tmp_path / 'www'}}}\n"
        # A connection without requests is soon over, at both ends.
        f"transport: {{idleTimeout: 4s, qlogDirectory: {qlogs}}}\n",
    ).start("--log-level", "debug")
    # On a path without delay the server's answer to the ClientHello may overtake the request.
    link = Link(("127.0.0.1", pop.quic_port), Conditions(delay=0.02, rate=1e9, queue=1000)).open()
    url = f"https://{HOST}:{link.port}/page/"
    browser = None
    try:
        browser = Chromium(
            tmp_path, f"--origin-to-force-quic-on={HOST}:{link.port}",
            f"--ignore-certificate-errors-spki-list={public_key_digest(pop.state / 'pop.pem')}",
            f"--host-resolver-rules=MAP {HOST} 127.0.0.1",
        )
        check(browser, url, files)
        browser.screenshot(tmp_path / "page.png")
        pop.log.wait_for("disconnected: idleTimeout")
        early = link.seen.count("0rtt", to_server=True)
        check(browser, url, files)
        early_on_second_visit = link.seen.count("0rtt", to_server=True) - early
        # Another process knows nothing of the tickets that this one gave.
        pop.stop()
        report = pop.log
        pop.start()
        check(browser, url, files)
        browser.close()
        sessions = browser.quic_sessions(HOST)
    finally:
        if browser:
            browser.close()
        link.close()
        pop.stop()

    # What the browser says.
    assert [states(events) for events in sessions] == [
        ["NotAttempted"], ["AttemptedAndSucceeded"], ["AttemptedAndRejected"],
    ]
    for events in sessions[1:]:
        names = [name for name, _ in events]
        assert names.index("HTTP3_HEADERS_SENT") < names.index("QUIC_SESSION_CRYPTO_HANDSHAKE_COMPLETE")
    # What the path saw: 0-RTT packets (RFC 9000 section 17.2.3), on the second visit and not on the first.
    assert early == 0 and early_on_second_visit > 0
    # What the PoP says.
    assert report.wait_for(r"early=(\d+)")[1] == "1"
    assert "resumed=1" in report.text and "earlyData=1" in report.text
    assert pop.log.wait_for(r"early=(\d+)")[1] == "0"
    assert "resumed=0" in pop.log.text and "earlyData=0" in pop.log.text
    first, second, third = [records(file)[1:] for file in sorted(qlogs.iterdir(), key=lambda file: file.stat().st_mtime)]
    assert not requests_in_0_rtt(first) and not requests_in_0_rtt(third)
    assert requests_in_0_rtt(second) == [0]


def check(browser, url, files):
    """Loads the page and looks at all that came of it."""
    responses = browser.visit(url)
    names = {name or "index.html": response for name, response in responses.items()}
    assert names.keys() == files.keys()
    for name, response in names.items():
        assert (response["status"], response["protocol"]) == (200, "h3"), name
        assert response["body"] == files[name], name
    seen = browser.evaluate(LOOK)
    assert seen["title"] == "A hundred objects"
    assert seen["scripts"] == 20
    assert seen["borders"] == [f"rgb({n * 10}, 0, 0)" for n in range(20)]
    assert seen["pixels"] == [[*color(n), 255] for n in range(60)]
    timing = {r["name"].removeprefix(url) or "index.html": r for r in seen["resources"] if r["name"].startswith(url)}
    assert timing.keys() == files.keys()
    for name, entry in timing.items():
        assert (entry["protocol"], entry["status"], entry["bytes"]) == ("h3", 200, len(files[name])), name


def states(events):
    return [parameters["state"] for name, parameters in events if name == "QUIC_SESSION_ZERO_RTT_STATE"]


def requests_in_0_rtt(events):
    """The request streams whose end came in 0-RTT packets."""
    return [
        frame["stream_id"]
        for event in events
        if event["name"] == "quic:packet_received" and event["data"]["header"]["packet_type"] == "0RTT"
        for frame in event["data"]["frames"]
        if frame["frame_type"] == "stream" and frame["stream_id"] % 4 == 0 and frame.get("fin")
    ]
