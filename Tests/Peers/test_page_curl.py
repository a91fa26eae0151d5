"""curl, on ngtcp2, loads a page of a hundred objects over one connection, and its second visit begins in 0-RTT.

The libcurl of pycurl's wheels stands on OpenSSL, with which it sends early data. That of curl_cffi stands on BoringSSL:
it resumes, but sends none. Debian 12's own has no HTTP/3.
"""

import io
import re

import pytest
from hundred import write_page
from link import Conditions, Link
from test_page_chromium import requests_in_0_rtt
from test_qlog import records

from conftest import PoP

pycurl = pytest.importorskip("pycurl", reason="NOT TESTED WITH CURL: pycurl is not installed")
HOST = "pop.cloudbridge.test"
HTTP_3_ONLY = 31
CURLINFO_EARLYDATA_SENT_T = 0x600000 + 68
CURLSSLOPT_EARLYDATA = 1 << 6


class Visit:
    """One connection's worth of requests; sessions are kept in `share`."""

    def __init__(self, pop, port, share):
        self.pop, self.port, self.share = pop, port, share
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self.multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, 1)

    def get(self, paths, fields=(), head=False):
        """Requests all paths at once; returns the handles with `.body` and `.fields`, in their order."""
        handles = [self._handle(path, fields) for path in paths]
        for handle in handles:
            handle.curl.setopt(pycurl.NOBODY, head)
        for handle in handles:
            self.multi.add_handle(handle.curl)
        running = len(handles)
        while running:
            _, running = self.multi.perform()
            if running:
                self.multi.select(1.0)
        _, _, failed = self.multi.info_read(len(handles))
        assert not failed, [(code, reason) for _, code, reason in failed]
        for handle in handles:
            self.multi.remove_handle(handle.curl)
        return handles

    def _handle(self, path, fields):
        curl = pycurl.Curl()
        handle = Handle(curl)
        curl.setopt(pycurl.URL, f"https://{HOST}:{self.port}/page/{path}")
        curl.setopt(pycurl.RESOLVE, [f"{HOST}:{self.port}:127.0.0.1"])
        curl.setopt(pycurl.HTTP_VERSION, HTTP_3_ONLY)
        curl.setopt(pycurl.CAINFO, str(self.pop.ca))
        curl.setopt(pycurl.PIPEWAIT, 1)
        curl.setopt(pycurl.SHARE, self.share)
        curl.setopt(pycurl.SSL_OPTIONS, CURLSSLOPT_EARLYDATA)
        curl.setopt(pycurl.TIMEOUT, 20)
        curl.setopt(pycurl.HTTPHEADER, list(fields))
        curl.setopt(pycurl.WRITEFUNCTION, handle.content.write)
        curl.setopt(pycurl.HEADERFUNCTION, handle.header.write)
        return handle

    def close(self):
        self.multi.close()


class Handle:
    def __init__(self, curl):
        self.curl = curl
        self.content = io.BytesIO()
        self.header = io.BytesIO()

    @property
    def body(self):
        return self.content.getvalue()

    @property
    def status(self):
        return self.curl.getinfo(pycurl.RESPONSE_CODE)

    @property
    def fields(self):
        lines = self.header.getvalue().decode().splitlines()[1:]
        return dict(line.split(": ", 1) for line in lines if ": " in line)

    @property
    def early_bytes(self):
        return self.curl.getinfo(CURLINFO_EARLYDATA_SENT_T)


@pytest.mark.skipif("ngtcp2" not in pycurl.version, reason="NOT TESTED WITH CURL: this pycurl has no HTTP/3")
def test_curl_loads_a_page_of_a_hundred_objects_and_comes_back_in_0_rtt(tmp_path):
    files = write_page(tmp_path / "www" / "page")
    qlogs = tmp_path / "qlog"
    qlogs.mkdir()
    pop = PoP(
        tmp_path, f"pages: {{directory: {tmp_path / 'www'}}}\ntransport: {{qlogDirectory: {qlogs}}}\n"
    ).start()
    link = Link(("127.0.0.1", pop.quic_port), Conditions(delay=0.02, rate=1e9, queue=1000)).open()
    share = pycurl.CurlShare()
    share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_SSL_SESSION)
    try:
        early = []
        tags = {}
        for _ in range(2):
            visit = Visit(pop, link.port, share)
            [page] = visit.get([""])
            assert page.status == 200 and page.body == files["index.html"]
            early.append(page.early_bytes)
            names = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
            assert len(names) == 100
            objects = visit.get(names)
            for name, got in zip(names, objects):
                assert got.status == 200 and got.curl.getinfo(pycurl.INFO_HTTP_VERSION) == HTTP_3_ONLY - 1, name
                assert got.body == files[name], name
                tags[name] = got.fields["etag"]
            # A copy that is still good is not sent again.
            [kept] = visit.get(["image9.png"], [f"If-None-Match: {tags['image9.png']}"])
            assert kept.status == 304 and kept.body == b"" and kept.fields["etag"] == tags["image9.png"]
            # aioquic takes an answer to HEAD with content-length for a malformed one; curl does not.
            [head] = visit.get(["image9.png"], head=True)
            assert head.status == 200 and head.body == b"" and head.fields["content-type"] == "image/png"
            assert head.fields["content-length"] == str(len(files["image9.png"]))
            # One connection carried all of it.
            assert sum(got.curl.getinfo(pycurl.NUM_CONNECTS) for got in [page, *objects, kept, head]) == 1
            visit.close()
    finally:
        link.close()
        pop.stop()

    assert early[0] == 0 and early[1] > 0
    assert pop.log.wait_for(r"early=(\d+)")[1] == "1"
    assert "resumed=1" in pop.log.text and "earlyData=1" in pop.log.text
    logs = [records(file)[1:] for file in sorted(qlogs.iterdir(), key=lambda file: file.stat().st_mtime)]
    assert [requests_in_0_rtt(events) for events in logs] == [[], [0]]
