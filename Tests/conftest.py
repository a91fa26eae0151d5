"""What the tests of the real binaries share: a PoP, a signed-in terminal, a web server, tokens."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("CBR_TEST_BIN", ROOT / ".build" / "debug"))
sys.path[:0] = [
    str(ROOT / folder) for folder in ("Tests/Peers", "Tests/Peers/BGP", "Tests/Interop", "Benchmarks")
]

HMAC_SECRET = "a shared secret of more than thirty-two bytes"
HMAC_ISSUER = "https://hmac.example"


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(condition, timeout=15, what="the condition"):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true in {timeout} s")


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_token(claims, key=HMAC_SECRET.encode(), alg="HS256", header=None):
    """A JWT signed with HMAC-SHA-256, or with nothing for alg none."""
    head = {"alg": alg, "typ": "JWT", **(header or {})}
    text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
    if alg == "none":
        return text + "."
    return text + "." + b64(hmac.new(key, text.encode(), hashlib.sha256).digest())


def claims(**changes):
    now = int(time.time())
    base = {"iss": HMAC_ISSUER, "aud": "cloudbridge", "sub": "tester", "iat": now, "exp": now + 600}
    base.update(changes)
    return {name: value for name, value in base.items() if value is not None}


class Lines:
    """Reads a process's output in the background; a test waits for what it must say."""

    def __init__(self, stream):
        self.text = ""
        self.changed = threading.Condition()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        while chunk := os.read(stream.fileno(), 65536):
            with self.changed:
                self.text += chunk.decode(errors="replace")
                self.changed.notify_all()

    def wait_for(self, pattern, timeout=20, start=0):
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                found = re.search(pattern, self.text[start:])
                if found:
                    return found
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"did not say /{pattern}/ in {timeout} s; said:\n{self.text[start:]}")
                self.changed.wait(left)


def other_issuer(pop):
    return f"""
    - name: other
      issuer: {pop.issuer}
      audience: [cloudbridge]"""


class PoP:
    def __init__(
        self, directory, settings="", name="test1", listen="127.0.0.1", state=None, trusts=None, prefix=(), environment=None
    ):
        """`state` is where another PoP keeps its keys, and `trusts` another whose users are welcome here; `prefix` is a
        command that runs it elsewhere, `environment` what it gets besides this process's own."""
        self.directory = directory
        self.prefix = prefix
        self.environment = environment or {}
        self.quic_port = free_port(socket.SOCK_DGRAM)
        self.issuer_port = free_port()
        self.dns_port = free_port()
        self.state = state or directory / "pop-state"
        self.ca = self.state / "ca.pem"
        secret = directory / "hmac.key"
        secret.write_text(HMAC_SECRET)
        secret.chmod(0o600)
        self.config = directory / "cbpop.yaml"
        self.config.write_text(
            f"""
name: {name}
listen: ["{listen}:{self.quic_port}"]
identity:
  profiles:
    - name: hmac
      issuer: {HMAC_ISSUER}
      audience: [cloudbridge]
      algorithms: [HS256]
      hmacSecretFile: {secret}{trusts and other_issuer(trusts) or ""}
policy:
  allowPrefixes: [127.0.0.0/8]
  denyPrefixes: [127.66.0.0/16]
dev:
  issuerAddress: 127.0.0.1:{self.issuer_port}
  dnsAddress: 127.0.0.1:{self.dns_port}
{settings}
"""
        )
        self.process = None

    @property
    def issuer(self):
        return f"http://127.0.0.1:{self.issuer_port}"

    def start(self, *flags):
        self.process = subprocess.Popen(
            [*self.prefix, BIN / "cbpop", "--dev", "--config", self.config, "--state-directory", self.state, *flags],
            env=os.environ | self.environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        self.log = Lines(self.process.stderr)
        self.log.wait_for("cbpop is ready")
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("cbpop did not stop in 20 s after SIGTERM")

    def approve(self, code, user="ada", action="approve"):
        form = urllib.parse.urlencode({"user_code": code, "user": user, "action": action}).encode()
        with urllib.request.urlopen(f"{self.issuer}/device", form, timeout=10) as answer:
            assert answer.status == 200

    def token(self, user="ada"):
        """A real access token of the embedded issuer, by the device flow."""

        def post(path, form):
            data = urllib.parse.urlencode(form).encode()
            with urllib.request.urlopen(self.issuer + path, data, timeout=10) as answer:
                return json.load(answer)

        grant = post("/device_authorization", {"client_id": "cbterm", "scope": "openid profile"})
        self.approve(grant["user_code"], user)
        return post(
            "/token",
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
                "device_code": grant["device_code"],
                "client_id": "cbterm",
            },
        )["access_token"]


class Terminal:
    """cbterm with its own state, fed by lines."""

    def __init__(self, directory, profile, prefix=(), environment=None):
        self.directory = directory
        profiles = directory / "profiles"
        profiles.mkdir(exist_ok=True)
        self.socks_port = free_port()
        self.http_port = free_port()
        (profiles / "test.yaml").write_text(
            profile
            + f"""
proxy:
  socks: 127.0.0.1:{self.socks_port}
  http: 127.0.0.1:{self.http_port}
"""
        )
        self.arguments = [*prefix, BIN / "cbterm", "--profile-dir", profiles, "--profile", "test"]
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "XDG_STATE_HOME": str(directory / "state"),
            "XDG_CONFIG_HOME": str(directory / "config"),
            **(environment or {}),
        }
        self.process = None

    def run(self, *arguments, timeout=40):
        return subprocess.run(
            [*self.arguments, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def start(self):
        self.process = subprocess.Popen(
            self.arguments,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.output = Lines(self.process.stdout)
        return self

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def login(self, pop):
        process = subprocess.Popen(
            [*self.arguments, "login"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = Lines(process.stdout)
        pop.approve(output.wait_for(r"[B-Z]{4}-[B-Z]{4}").group())
        assert process.wait(20) == 0, output.text
        return self

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def profile_for(pop, transport=""):
    return f"""
pop:
  domain: cloudbridge.test
  trust:
    systemRoots: false
    caFile: {pop.ca}
identity:
  issuer: {pop.issuer}
dns:
  servers: ["127.0.0.1:{pop.dns_port}"]
reconnect:
  initialDelay: 200ms
  maxDelay: 1s
{transport}
"""


@pytest.fixture(scope="module")
def pop(tmp_path_factory):
    pop = PoP(tmp_path_factory.mktemp("pop")).start()
    yield pop
    pop.stop()


@pytest.fixture
def own_pop(tmp_path):
    """A PoP that the test may kill."""
    pop = PoP(tmp_path).start()
    yield pop
    pop.stop()


@pytest.fixture
def terminal(pop, tmp_path):
    terminal = Terminal(tmp_path, profile_for(pop)).login(pop)
    yield terminal
    terminal.stop()


@contextlib.contextmanager
def nginx_serving(directory, pages):
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not os.path.exists(program):
        pytest.skip("nginx is not installed: the real web server is missing")
    www = directory / "www"
    www.mkdir()
    for name, content in pages.items():
        (www / name).write_bytes(content)
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(
        f"""
daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log; worker_processes 1;
events {{}}
http {{
  access_log {directory}/access.log; sendfile on;
  client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2; fastcgi_temp_path {directory}/t3;
  uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;
  server {{ listen 127.0.0.1:{port}; root {www}; }}
}}
"""
    )
    process = subprocess.Popen(
        [program, "-c", config, "-p", directory, "-e", directory / "error.log"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:

        def answers():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True

        wait_until(answers, what="nginx answering")
        yield port
    finally:
        process.terminate()
        process.wait()
        # The worker reads its pages as another user; nothing of it may stay behind.


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    directory = tmp_path_factory.mktemp("nginx")
    for part in [directory, *directory.parents]:
        if part == Path("/tmp").resolve() or part == Path("/"):
            break
        part.chmod(0o755)
    pages = {"index.html": b"<h1>It crossed the bridge</h1>\n", "big.bin": os.urandom(20_000_000)}
    with nginx_serving(directory, pages) as port:
        yield port, pages


class EchoServers:
    """TCP and UDP echo on loopback."""

    def __init__(self):
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._datagrams, daemon=True).start()

    @property
    def tcp_port(self):
        return self.tcp.getsockname()[1]

    @property
    def udp_port(self):
        return self.udp.getsockname()[1]

    def _accept(self):
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection):
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def _datagrams(self):
        while True:
            try:
                data, peer = self.udp.recvfrom(65536)
                self.udp.sendto(data, peer)
            except OSError:
                return

    def close(self):
        self.tcp.close()
        self.udp.close()


@pytest.fixture(scope="session")
def echo():
    servers = EchoServers()
    yield servers
    servers.close()


@pytest.fixture
def lab(tmp_path):
    """The PoP's network namespace and, as tests make them, routers around it; skips where there can be none."""
    from routers import Lab, need

    need("ip")
    lab = Lab(tmp_path)
    yield lab
    lab.close()
