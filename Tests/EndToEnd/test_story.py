"""The two real binaries carrying real traffic of real programs."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time

import pytest
import socks

from conftest import BIN, Lines, PoP, Terminal, profile_for, wait_until


def curl(*arguments):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    return subprocess.run(["curl", "-sS", "--max-time", "30", *arguments], capture_output=True, timeout=40)


@pytest.fixture
def connected(terminal):
    terminal.start()
    terminal.say("connect")
    terminal.output.wait_for("Connected to test1")
    # The session ends with its input; the line that waits keeps it reading.
    return terminal


def test_curl_reaches_nginx_by_socks(connected, nginx):
    port, pages = nginx
    answer = curl("--proxy", f"socks5h://127.0.0.1:{connected.socks_port}", f"http://127.0.0.1:{port}/index.html")
    assert answer.stdout == pages["index.html"], answer.stderr


def test_curl_reaches_nginx_by_http_connect(connected, nginx):
    port, pages = nginx
    answer = curl(
        "--proxytunnel", "--proxy", f"http://127.0.0.1:{connected.http_port}", f"http://127.0.0.1:{port}/index.html"
    )
    assert answer.stdout == pages["index.html"], answer.stderr


def test_a_second_connection_signs_in_with_its_first_packet(terminal):
    result = terminal.run("-c", "connect; disconnect; connect; status", "--json")
    assert result.returncode == 0, result.stderr
    assert '"resumption":"early data"' in result.stdout.replace(" ", "").replace("earlydata", "early data")


def test_a_large_download_arrives_whole(connected, nginx):
    port, pages = nginx
    answer = curl("--proxy", f"socks5h://127.0.0.1:{connected.socks_port}", f"http://127.0.0.1:{port}/big.bin")
    assert hashlib.sha256(answer.stdout).digest() == hashlib.sha256(pages["big.bin"]).digest()


def test_eight_downloads_at_once(connected, nginx):
    port, pages = nginx
    command = ["curl", "-sS", "--max-time", "60", "--proxy", f"socks5h://127.0.0.1:{connected.socks_port}"]
    running = [
        subprocess.Popen([*command, f"http://127.0.0.1:{port}/big.bin"], stdout=subprocess.PIPE) for _ in range(8)
    ]
    expected = hashlib.sha256(pages["big.bin"]).digest()
    for process in running:
        assert hashlib.sha256(process.communicate(timeout=90)[0]).digest() == expected


def test_the_terminal_fetches_a_page_itself(terminal, nginx):
    port, pages = nginx
    result = terminal.run("-c", f"connect; get http://127.0.0.1:{port}/index.html")
    assert result.returncode == 0, result.stderr
    assert pages["index.html"].decode().strip() in result.stdout


def test_dig_asks_through_a_forwarded_udp_port(connected, pop):
    if not shutil.which("dig"):
        pytest.skip("dig (bind9-dnsutils) is not installed: the UDP application is missing")
    connected.say(f"tunnel add udp 127.0.0.1:0 127.0.0.1:{pop.dns_port}")
    connected.say("tunnel list")
    port = connected.output.wait_for(r"127\.0\.0\.1:(\d+)[^\n]*127\.0\.0\.1:%d" % pop.dns_port).group(1)
    answer = subprocess.run(
        ["dig", "+short", "+time=3", "@127.0.0.1", "-p", port, "pop.cloudbridge.test", "A"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert answer.stdout.strip() == "127.0.0.1", answer


def test_socks_udp_associate_reaches_a_udp_server(connected, echo):
    s = socks.socksocket(type=socket.SOCK_DGRAM)
    s.set_proxy(socks.SOCKS5, "127.0.0.1", connected.socks_port)
    s.settimeout(10)
    for payload in [b"one", b"two" * 300, b""]:
        s.sendto(payload, ("127.0.0.1", echo.udp_port))
        assert s.recvfrom(4096)[0] == payload
    s.close()


def test_a_refused_target_is_told_to_the_application(connected):
    s = socks.socksocket()
    s.set_proxy(socks.SOCKS5, "127.0.0.1", connected.socks_port)
    s.settimeout(15)
    with pytest.raises(socks.ProxyError) as refused:
        s.connect(("10.0.0.1", 80))
    assert "0x02" in str(refused.value)


def test_what_is_no_proxy_request_gets_a_clear_answer(connected):
    answer = curl("-i", f"http://127.0.0.1:{connected.http_port}/")
    assert b" 405 " in answer.stdout.splitlines()[0]
    assert b"CONNECT" in answer.stdout


def test_status_as_json(terminal):
    result = terminal.run("-c", "connect; status", "--json")
    assert result.returncode == 0, result.stderr
    documents = []
    decoder, rest = json.JSONDecoder(), result.stdout.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        documents.append(document)
        rest = rest[end:].strip()
    assert len(documents) == 2
    assert "test1" in json.dumps(documents[1])


def test_exit_codes(pop, tmp_path):
    terminal = Terminal(tmp_path, profile_for(pop))
    assert terminal.run("whoami").returncode == 3
    assert terminal.run("connect").returncode == 3
    wrong = terminal.run("conect")
    assert wrong.returncode == 2
    assert "connect" in wrong.stderr
    assert terminal.run("--set", "pop.domian=x", "status").returncode == 7
    terminal.login(pop)
    nobody = terminal.run("--set", "pop.domain=nowhere.cloudbridge.test", "connect")
    assert nobody.returncode == 4, nobody.stderr


def test_tokens_are_sealed_and_private(terminal):
    state = terminal.directory / "state" / "cloudbridge"
    files = [file for file in state.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert file.stat().st_mode & 0o077 == 0, file
        assert b"eyJ" not in file.read_bytes(), f"a token lies open in {file}"


def test_login_denied(pop, tmp_path):
    terminal = Terminal(tmp_path, profile_for(pop))
    process = subprocess.Popen(
        [*terminal.arguments, "login"],
        env=terminal.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output = Lines(process.stdout)
    pop.approve(output.wait_for(r"[B-Z]{4}-[B-Z]{4}").group(), action="deny")
    assert process.wait(20) == 6, output.text


def test_a_killed_pop_is_noticed_and_found_again(own_pop, tmp_path, echo):
    directory = tmp_path / "client"
    directory.mkdir()
    transport = "transport:\n  idleTimeout: 3s\n  keepAlive: 1s\n"
    terminal = Terminal(directory, profile_for(own_pop, transport)).login(own_pop).start()
    try:
        terminal.say("connect")
        terminal.output.wait_for("Connected to test1")
        terminal.say("wait 2m")
        mark = len(terminal.output.text)
        own_pop.kill()
        killed = time.monotonic()
        terminal.output.wait_for("(?i)lost|silent|reconnect", timeout=10, start=mark)
        assert time.monotonic() - killed < 8
        # The listener stays.
        socket.create_connection(("127.0.0.1", terminal.socks_port), 5).close()
        own_pop.start()

        def tunnel_works():
            s = socks.socksocket()
            s.set_proxy(socks.SOCKS5, "127.0.0.1", terminal.socks_port)
            s.settimeout(5)
            try:
                s.connect(("127.0.0.1", echo.tcp_port))
                s.sendall(b"back")
                return s.recv(4) == b"back"
            except OSError:
                return False
            finally:
                s.close()

        wait_until(tunnel_works, timeout=20, what="a tunnel after the restart")
    finally:
        terminal.stop()


@pytest.mark.parametrize("outlives", [True, False], ids=["secret", "no secret"])
def test_tickets_outlive_a_restart_where_the_operator_wants_it(tmp_path, outlives):
    secret = tmp_path / "tickets.secret"
    secret.write_bytes(os.urandom(32))
    secret.chmod(0o600)
    pop = PoP(tmp_path, f"tls:\n  secretFile: {secret}\n" if outlives else "").start()
    directory = tmp_path / "client"
    directory.mkdir()
    terminal = Terminal(directory, profile_for(pop)).login(pop).start()
    try:
        terminal.say("connect")
        terminal.output.wait_for("Connected to test1")
        for _ in range(2):
            mark = len(terminal.output.text)
            pop.stop()
            pop.start()
            terminal.output.wait_for("connected to test1", start=mark)
            terminal.say("status --json")
            found = terminal.output.wait_for(r'"resumption"\s*:\s*"([^"]*)"', start=mark).group(1)
            # Never early data: only the process that gave a ticket knows whether it has been used.
            assert found == ("resumed" if outlives else "none")
        terminal.say("disconnect")
        terminal.say("connect")
        mark = len(terminal.output.text)
        terminal.say("status --json")
        terminal.output.wait_for(r'"resumption"\s*:\s*"early data"', start=mark)
        assert secret.read_bytes().hex() not in pop.log.text
    finally:
        terminal.stop()
        pop.stop()


def test_wrong_settings_name_file_line_and_key(tmp_path):
    config = tmp_path / "cbpop.yaml"
    config.write_text('name: x\nlisten: ["127.0.0.1:0"]\npolicy:\n  alowPrivate: true\n')
    result = subprocess.run([BIN / "cbpop", "--dev", "--config", config], capture_output=True, text=True, timeout=20)
    assert result.returncode == 7
    assert "cbpop.yaml:4" in result.stderr
    assert "allowPrivate" in result.stderr


def test_sigterm_drains(tmp_path):
    pop = PoP(tmp_path).start()
    pop.stop()
    assert pop.process.returncode == 0, pop.log.text
