"""1,000 CONNECT-UDP tunnels at once on one PoP ring, then 10,000 CONNECT tunnels opened and closed.

The client is aioquic, so that only the PoP is measured: memory and file descriptors must not grow.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from programs import cpu_seconds, descriptors, memory_kib

from conftest import EchoServers, PoP, claims, make_token
from h3peer import h3_client

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--tunnels", type=int, default=1_000)
parser.add_argument("--cycles", type=int, default=10_000)
arguments = parser.parse_args()


def say(what, pid):
    print(f"{what:<34} {memory_kib(pid) / 1024:8.1f} MiB  {descriptors(pid):6} descriptors", flush=True)


async def concurrent(pop, echo):
    pid = pop.process.pid
    token = make_token(claims())
    async with h3_client("127.0.0.1", pop.quic_port, pop.ca) as client:
        streams = []
        for _ in range(arguments.tunnels):
            streams.append(client.connect_udp("cloudbridge.test", "127.0.0.1", echo.udp_port, token))
            # The first request signs the connection in; the others rely on it.
            if token or len(streams) % 50 == 0:
                await streams[-1][1].until(lambda e: e.headers, timeout=30)
            token = None
        for _, exchange in streams:
            await exchange.until(lambda e: e.headers, timeout=30)
            assert exchange.headers[":status"] == "200", exchange.headers
        say(f"{len(streams)} tunnels open", pid)
        answered = 0
        for stream, exchange in streams:
            client.send_udp(stream, b"x" * 100)
            await asyncio.sleep(0)
        for _, exchange in streams:
            try:
                await exchange.until(lambda e: e.datagrams, timeout=5)
                answered += 1
            except TimeoutError:
                pass
        print(f"{answered} of {len(streams)} answered a datagram")
    await asyncio.sleep(1)


async def cycles(pop, echo, count):
    token = make_token(claims())
    async with h3_client("127.0.0.1", pop.quic_port, pop.ca) as client:
        done = 0
        while done < count:
            batch = []
            for _ in range(min(50, count - done)):
                batch.append(client.connect_tcp(f"127.0.0.1:{echo.tcp_port}", token))
                if token:
                    await batch[-1][1].until(lambda e: e.headers, timeout=30)
                    token = None
            for stream, exchange in batch:
                await exchange.until(lambda e: e.headers, timeout=30)
                assert exchange.headers[":status"] == "200", exchange.headers
                client.send(stream, b"", end=True)
            for stream, exchange in batch:
                await exchange.until(lambda e: e.ended, timeout=30)
                del client.exchanges[stream]
            done += len(batch)
    await asyncio.sleep(1)


with tempfile.TemporaryDirectory() as directory:
    pop = PoP(Path(directory), "limits:\n  tunnelsPerUser: 5000\n").start()
    echo = EchoServers()
    pid = pop.process.pid
    try:
        say("idle", pid)
        asyncio.run(concurrent(pop, echo))
        say("all of them closed", pid)
        # The first cycles fill the allocator's pools; growth is judged from there.
        asyncio.run(cycles(pop, echo, 1_000))
        say("after 1,000 cycles", pid)
        before, began = cpu_seconds(pid), time.monotonic()
        asyncio.run(cycles(pop, echo, arguments.cycles))
        used = cpu_seconds(pid) - before
        say(f"after {arguments.cycles} more", pid)
        print(f"PoP CPU per open and close: {used / arguments.cycles * 1e6:.0f} µs")
    finally:
        echo.close()
        pop.stop()
