"""Debian's gtlsclient and gtlsserver, ngtcp2 with GnuTLS, with cbquic's command line. They speak HTTP/3 alone."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peer

CLIENT, SERVER = shutil.which("gtlsclient"), shutil.which("gtlsserver", path="/usr/sbin:/usr/bin")
PATIENCE = ["--handshake-timeout=60s", "--timeout=30s"]


def ciphers(options):
    only = "-CIPHER-ALL:+CHACHA20-POLY1305"
    return [f"--ciphers=NORMAL:-VERS-ALL:+VERS-TLS1.3:{only}"] if options.chacha20 else []


def get(options):
    switches = ["--quiet", "--exit-on-all-streams-close", f"--download={options.dir}", f"--sni={options.name}"]
    switches += PATIENCE + ciphers(options)
    if options.key_update:
        switches.append("--key-update=500ms")
    if options.migrate:
        switches.append("--change-local-addr=500ms")
    if options.initial_version:
        # It does not know RFC 9369's version; one that no server speaks (RFC 9000 15) is as good here.
        switches += ["--version=0x1a2a3a4a", "--preferred-versions=v1"]
    end = time.monotonic() + options.timeout
    with tempfile.TemporaryDirectory() as folder:
        if options.connections == "two":
            switches += [f"--session-file={folder}/session", f"--tp-file={folder}/parameters"]
            if not options.early:
                switches.append("--disable-early-data")
        for group in peer.groups(options):
            uris = [f"https://{options.name}/{name}" for name in group]
            subprocess.run(
                [CLIENT, *switches, options.host, str(options.port), *uris], timeout=end - time.monotonic(), check=True
            )


def serve(options):
    switches = ["--quiet", f"--htdocs={options.dir}", "--mime-types-file=/dev/null", *PATIENCE, *ciphers(options)]
    if options.retry:
        switches.append("--validate-addr")
    if options.preferred:
        switches.append(f"--preferred-ipv4-addr={options.preferred}")
    if os.fork() == 0:
        # gtlsserver says nothing when it is ready.
        while f":{options.port:04X} " not in Path("/proc/net/udp").read_text():
            time.sleep(0.02)
        print(f"ngtcp2 serves at {options.address}", flush=True)
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    os.execv(SERVER, [SERVER, *switches, options.host, str(options.port), options.key, options.cert])


def main():
    options = peer.arguments()
    try:
        get(options) if options.role == "get" else serve(options)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


main()
