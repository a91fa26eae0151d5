"""Headless Chromium, driven over the pipe of its DevTools protocol, and the log of what its network stack did."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PROGRAM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)


def public_key_digest(certificate: Path):
    """What --ignore-certificate-errors-spki-list takes: the SHA-256 of the public key of the first certificate."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    return base64.b64encode(
        hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    ).decode()


class Chromium:
    """One browser with one page."""

    def __init__(self, directory: Path, *flags):
        self.log = directory / "netlog.json"
        self.errors = directory / "chromium.log"
        command_read, command_write = os.pipe()
        answer_read, answer_write = os.pipe()
        # The browser reads commands from descriptor 3 and writes to 4.
        script = f'exec "$@" 3<&{command_read} 4>&{answer_write}'
        arguments = [
            PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=800,400",
            f"--user-data-dir={directory / 'profile'}", f"--log-net-log={self.log}", *flags, "about:blank",
        ]
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                ["bash", "-c", script, "chromium", *arguments],
                pass_fds=(command_read, answer_write), stdout=errors, stderr=errors, env={**os.environ, "HOME": str(directory)},
            )
        os.close(command_read)
        os.close(answer_write)
        self.commands = command_write
        self.count = 0
        self.answers = {}
        self.events = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, args=(answer_read,), daemon=True)
        self.reader.start()
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Network.enable", maxTotalBufferSize=1 << 26, maxResourceBufferSize=1 << 24)
        self.call("Network.setCacheDisabled", cacheDisabled=True)

    def _read(self, descriptor):
        rest = b""
        while chunk := os.read(descriptor, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            with self.changed:
                for message in map(json.loads, messages):
                    if "id" in message:
                        self.answers[message["id"]] = message
                    else:
                        self.events.append(message)
                self.changed.notify_all()
        os.close(descriptor)

    def _wait(self, condition, what, timeout=30):
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                raise AssertionError(f"Chromium: no {what} in {timeout} s; it said:\n{self.errors.read_text()[-2000:]}")

    def call(self, method, **parameters):
        self.count += 1
        number = self.count
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        self._wait(lambda: number in self.answers, f"answer to {method}")
        answer = self.answers.pop(number)
        assert "error" not in answer, f"{method}: {answer}"
        return answer["result"]

    def visit(self, url):
        """Loads a page and waits until all of it is there; returns each response with its `body`, by its path."""
        begin = len(self.events)
        result = self.call("Page.navigate", url=url)
        assert not result.get("errorText"), f"{url}: {result['errorText']}"
        self._wait(
            lambda: any(e["method"] == "Page.loadEventFired" for e in self.events[begin:]), f"end of loading {url}"
        )
        responses = {}
        for event in list(self.events[begin:]):
            if event["method"] == "Network.responseReceived":
                response = event["params"]["response"]
                if not response["url"].startswith(url):
                    continue
                body = self.call("Network.getResponseBody", requestId=event["params"]["requestId"])
                content = body["body"].encode()
                response["body"] = base64.b64decode(content) if body["base64Encoded"] else content
                responses[response["url"].removeprefix(url)] = response
        return responses

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self, file: Path):
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self):
        """Ends the browser in good order: only then is its log whole."""
        if self.process.poll() is not None:
            return
        self.session = None
        try:
            self.call("Browser.close")
            self.process.wait(20)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            os.close(self.commands)
            self.reader.join(5)

    def quic_sessions(self, host):
        """The events of each QUIC connection to `host` in their order, as (name, parameters)."""
        log = json.loads(self.log.read_text())
        names = {number: name for name, number in log["constants"]["logEventTypes"].items()}
        source = log["constants"]["logSourceType"]["QUIC_SESSION"]
        sessions = {}
        for event in log["events"]:
            if event["source"]["type"] == source:
                sessions.setdefault(event["source"]["id"], []).append((names[event["type"]], event.get("params") or {}))
        return [events for events in sessions.values() if any(p.get("host") == host for _, p in events)]
