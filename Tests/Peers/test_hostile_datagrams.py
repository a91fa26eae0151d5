"""A thousand seeds of mutated datagrams against a running PoP."""

import random
import re
import signal
import socket
import time

from aioquic.quic.connection import QuicConnection
from h3peer import client_configuration

import test_http3_server

SEEDS = 1000


def first_flight(seed):
    connection = QuicConnection(configuration=client_configuration())
    connection.connect(("127.0.0.1", 1), now=0)
    return [bytes(data) for data, _ in connection.datagrams_to_send(now=0)]


def mutate(datagram, dice):
    data = bytearray(datagram)
    for _ in range(dice.choice([0, 1, 1, 2, 8, 64])):
        kind = dice.randrange(5)
        at = dice.randrange(max(1, len(data)))
        if kind == 0 and data:
            data[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and data:
            data[at] = dice.randrange(256)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = dice.randbytes(dice.randrange(32))
        elif data:
            # The header is where parsers live.
            data[dice.randrange(min(64, len(data)))] = dice.choice([0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF])
    return bytes(data[:65_000])


def received_by(s):
    total = 0
    try:
        while True:
            total += len(s.recv(65_536))
    except OSError:
        return total


def test_mutated_datagrams_neither_crash_nor_amplify(own_pop):
    pop = own_pop
    flights = [first_flight(n) for n in range(8)]
    for start in range(0, SEEDS, 100):
        sockets = []
        for seed in range(start, start + 100):
            dice = random.Random(seed)
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.connect(("127.0.0.1", pop.quic_port))
            s.setblocking(False)
            sent = 0
            for datagram in dice.choice(flights):
                try:
                    sent += s.send(mutate(datagram, dice))
                except OSError:
                    continue
            sockets.append((seed, s, sent))
        # Long enough for the server's first probes, which count as well.
        time.sleep(1.2)
        for seed, s, sent in sockets:
            received = received_by(s)
            s.close()
            assert received <= 3 * sent, f"seed {seed}: {received} bytes for {sent}"
    assert pop.process.poll() is None, pop.log.text
    test_http3_server.test_aioquic_fetches_a_page(pop)
    # What was thrown at it was counted, by reason; a few mutations leave an empty datagram, which is no datagram of QUIC.
    pop.process.send_signal(signal.SIGUSR1)
    asked = counts_of(pop, "datagrams dropped")
    pop.stop()
    counts = counts_of(pop, "datagrams")
    assert counts["received"] > 0.95 * SEEDS, pop.log.text
    by_reason = counts_of(pop, "datagrams dropped")
    assert counts["dropped"] == sum(by_reason.values()) >= sum(asked.values()) > 0
    # Each kind of mutation leaves its mark: a cut packet, another version, a header that is none, an unknown connection.
    for reason in ["smallInitial", "unsupportedVersion", "malformed", "unknownConnection"]:
        assert by_reason[reason] > 0, by_reason
    packets = counts_of(pop, "packets dropped")
    # A first packet altered behind its header begins a connection, which then cannot open it.
    assert packets["undecryptable"] > 0 and packets["duplicate"] == 0, packets


def counts_of(pop, message):
    """The numbers of the last line of the PoP's log that says `message`."""
    pop.log.wait_for(f"{message}\n")
    line = [line for line in pop.log.text.splitlines() if line.endswith(message)][-1]
    return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line)}
