"""cbpop as a server to HTTP/3 stacks that no one here wrote: aioquic, and curl on ngtcp2."""

import asyncio
import base64
import json
import urllib.request

import curl_cffi
import pytest
from curl_cffi import CurlHttpVersion
from h3peer import h3_client

from conftest import HMAC_ISSUER, claims, make_token


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def test_aioquic_fetches_a_page(pop):
    async def story():
        async with h3_client("127.0.0.1", pop.quic_port, pop.ca) as client:
            _, exchange = client.get("cloudbridge.test")
            await exchange.until(lambda e: e.ended)
            assert exchange.headers[":status"] == "200"
            assert b"CloudBridge point of presence" in exchange.body

    run(story())


def test_a_hundred_requests_on_one_connection(pop):
    async def story():
        async with h3_client("127.0.0.1", pop.quic_port, pop.ca) as client:
            exchanges = [client.get("cloudbridge.test", "/healthz")[1] for _ in range(100)]
            for exchange in exchanges:
                await exchange.until(lambda e: e.ended)
                assert exchange.headers[":status"] == "200"

    run(story())


def test_curl_with_http3_fetches_a_page(pop):
    answer = curl_cffi.get(
        f"https://localhost:{pop.quic_port}/", http_version=CurlHttpVersion.V3ONLY, verify=str(pop.ca), timeout=15
    )
    assert answer.status_code == 200
    assert "CloudBridge point of presence" in answer.text


def test_connect_udp_by_aioquic_reaches_a_udp_server(pop, echo):
    async def story():
        async with h3_client("127.0.0.1", pop.quic_port, pop.ca) as client:
            stream, exchange = client.connect_udp("cloudbridge.test", "127.0.0.1", echo.udp_port, pop.token())
            await exchange.until(lambda e: e.headers)
            assert exchange.headers[":status"] == "200"
            assert exchange.headers["capsule-protocol"] == "?1"
            for payload in [b"", b"x", b"y" * 1000]:
                client.send_udp(stream, payload)
                await exchange.until(lambda e: e.datagrams)
                assert exchange.datagrams.popleft() == b"\x00" + payload

    run(story())


def test_a_request_that_overtakes_the_first_one_s_verification_waits_for_it(pop):
    async def story():
        async with h3_client("127.0.0.1", pop.quic_port, pop.ca) as client:
            page = "/.well-known/cloudbridge/session"
            token = ("authorization", f"Bearer {pop.token()}")
            asking = [client.get("cloudbridge.test", page, [token] if i == 0 else []) for i in range(10)]
            for _, exchange in asking:
                await exchange.until(lambda e: e.ended)
                assert exchange.headers[":status"] == "200"

    run(story())


def test_requests_beside_a_bad_token_are_refused(pop):
    async def story():
        async with h3_client("127.0.0.1", pop.quic_port, pop.ca) as client:
            page = "/.well-known/cloudbridge/session"
            token = ("authorization", "Bearer rubbish")
            asking = [client.get("cloudbridge.test", page, [token] if i == 0 else []) for i in range(3)]
            answers = [(await exchange.until(lambda e: e.ended)).headers for _, exchange in asking]
            assert [headers[":status"] for headers in answers] == ["401"] * 3

    run(story())


def test_aioquic_resumes_with_early_data(pop, echo):
    """GET is answered in early data; what is told 425 there is below."""

    async def story():
        tickets = []
        async with h3_client("127.0.0.1", pop.quic_port, pop.ca, session_ticket_handler=tickets.append) as client:
            _, exchange = client.get("cloudbridge.test", "/healthz")
            await exchange.until(lambda e: e.ended)
            await asyncio.sleep(0.1)
        assert tickets and tickets[0].max_early_data_size == 0xFFFFFFFF
        async with h3_client(
            "127.0.0.1", pop.quic_port, pop.ca, session_ticket=tickets[0], wait_connected=False
        ) as client:
            _, page = client.get("cloudbridge.test", "/healthz")
            await page.until(lambda e: e.ended)
            assert client._quic.tls.session_resumed and client._quic.tls.early_data_accepted
            assert page.headers[":status"] == "200"
            _, tunnel = client.connect_tcp(f"127.0.0.1:{echo.tcp_port}", pop.token())
            await tunnel.until(lambda e: e.headers)
            assert tunnel.headers[":status"] == "200"
        # The ticket's early data has been used: it is good for a resumption only.
        async with h3_client("127.0.0.1", pop.quic_port, pop.ca, session_ticket=tickets[0]) as client:
            assert client._quic.tls.session_resumed and not client._quic.tls.early_data_accepted

    run(story())


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.request(
            [(":method", "POST"), (":scheme", "https"), (":authority", "cloudbridge.test"), (":path", "/")], body=b"x"
        ),
        lambda client: client.connect_tcp("127.0.0.1:9"),
        lambda client: client.connect_udp("cloudbridge.test", "127.0.0.1", 9),
    ],
    ids=["POST", "CONNECT", "connect-udp"],
)
def test_what_is_not_idempotent_is_not_done_in_early_data(pop, ask):
    """RFC 8470: told 425, and judged when it comes again.

    One small request, sent with the ClientHello: aioquic's pacer holds back more, and what is read together with the
    client's Finished is no replay and is answered.
    """

    async def story():
        tickets = []
        async with h3_client("127.0.0.1", pop.quic_port, pop.ca, session_ticket_handler=tickets.append) as client:
            _, exchange = client.get("cloudbridge.test", "/healthz")
            await exchange.until(lambda e: e.ended)
            await asyncio.sleep(0.1)
        async with h3_client(
            "127.0.0.1", pop.quic_port, pop.ca, session_ticket=tickets[0], wait_connected=False
        ) as client:
            _, early = ask(client)
            await early.until(lambda e: e.headers)
            assert client._quic.tls.early_data_accepted
            assert early.headers[":status"] == "425"
            _, again = ask(client)
            await again.until(lambda e: e.headers)
            assert again.headers[":status"] in ["401", "405"]

    run(story())


def test_connect_tcp_by_aioquic_echoes_a_megabyte(pop, echo):
    async def story():
        async with h3_client("127.0.0.1", pop.quic_port, pop.ca) as client:
            stream, exchange = client.connect_tcp(f"127.0.0.1:{echo.tcp_port}", pop.token())
            await exchange.until(lambda e: e.headers)
            assert exchange.headers[":status"] == "200"
            data = bytes(range(256)) * 4096
            for start in range(0, len(data), 65536):
                client.send(stream, data[start : start + 65536])
            await exchange.until(lambda e: len(e.body) >= len(data), timeout=20)
            assert bytes(exchange.body) == data
            client.send(stream, b"", end=True)
            await exchange.until(lambda e: e.ended)
            assert exchange.reset is None

    run(story())


def refusal(pop, token, host="127.0.0.1", port=9):
    async def story():
        async with h3_client("127.0.0.1", pop.quic_port, pop.ca) as client:
            _, exchange = client.connect_tcp(f"{host}:{port}", token)
            await exchange.until(lambda e: e.headers)
            return exchange.headers

    return run(story())


def public_key_as_hmac_secret(pop):
    """The issuer's published key, in the form that a confused verifier would take for a shared secret."""
    with urllib.request.urlopen(f"{pop.issuer}/keys", timeout=10) as answer:
        key = json.load(answer)["keys"][0]
    point = b"\x04" + b"".join(base64.urlsafe_b64decode(key[part] + "==") for part in ("x", "y"))
    prefix = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
    pem = base64.encodebytes(prefix + point).decode().replace("\n", "")
    lines = "\n".join(pem[i : i + 64] for i in range(0, len(pem), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n".encode(), key["kid"]


@pytest.mark.parametrize(
    "name, token, reason",
    [
        ("none", lambda pop: None, "bearer token"),
        ("garbage", lambda pop: "abc", ""),
        ("expired", lambda pop: make_token(claims(exp=1_600_000_000)), "expired"),
        ("not yet valid", lambda pop: make_token(claims(nbf=4_000_000_000)), "not valid before"),
        ("forged", lambda pop: make_token(claims(), key=b"another secret of more than thirty-two bytes"), "signature"),
        ("wrong audience", lambda pop: make_token(claims(aud="someone-else")), "audience"),
        ("wrong issuer", lambda pop: make_token(claims(iss="https://evil.example")), "issuer"),
        ("alg none", lambda pop: make_token(claims(), alg="none"), "none"),
        ("no subject", lambda pop: make_token(claims(sub=None)), "sub"),
        (
            "HS256 with the public key",
            lambda pop: make_token(
                claims(iss=pop.issuer),
                key=public_key_as_hmac_secret(pop)[0],
                header={"kid": public_key_as_hmac_secret(pop)[1]},
            ),
            "HS256",
        ),
    ],
)
def test_a_bad_token_is_refused_with_its_own_reason(pop, name, token, reason):
    headers = refusal(pop, token(pop))
    assert headers[":status"] == "401", name
    assert headers["www-authenticate"].startswith("Bearer")
    assert reason.lower() in headers["www-authenticate"].lower(), headers


def test_a_good_shared_secret_token_opens_a_tunnel(pop, echo):
    assert refusal(pop, make_token(claims()), port=echo.tcp_port)[":status"] == "200"


@pytest.mark.parametrize(
    "host, port, status, word",
    [
        ("10.1.2.3", 80, "502", "destination_ip_prohibited"),
        ("169.254.169.254", 80, "502", "destination_ip_prohibited"),
        ("127.66.0.1", 80, "502", "destination_ip_prohibited"),
        ("[::ffff:10.0.0.1]", 80, "502", "destination_ip_prohibited"),
        ("localhost", 80, "403", "http_request_denied"),
        ("127.0.0.1", 1, "502", "connection_refused"),
        ("127.1", 80, "400", "http_request_error"),
    ],
)
def test_targets_are_judged(pop, host, port, status, word):
    headers = refusal(pop, make_token(claims()), host, port)
    assert headers[":status"] == status, headers
    assert word in headers["proxy-status"]


def test_the_issuer_stays_on_loopback(pop, tmp_path):
    import subprocess

    from conftest import BIN

    result = subprocess.run(
        [BIN / "cbpop", "--dev", "--state-directory", tmp_path, "--set", "dev.issuerAddress=0.0.0.0:0"]
        + ["--set", "listen=127.0.0.1:0", "--set", "dev.dnsAddress=127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert result.returncode != 0
    assert "loopback" in result.stderr


def test_a_hmac_issuer_is_judged_by_its_own_profile(pop):
    # The dev issuer's name with the HMAC profile's secret: each profile fixes its own algorithms.
    headers = refusal(pop, make_token(claims(iss=pop.issuer)))
    assert headers[":status"] == "401"
    assert HMAC_ISSUER not in headers["www-authenticate"]
