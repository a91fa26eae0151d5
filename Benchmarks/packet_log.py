"""Reads what cblink --log wrote (Benchmarks/link/PacketLog.swift has the form), and says what it means."""

import struct
from dataclasses import dataclass
from pathlib import Path

RECORD = struct.Struct("<QQIIHHBBBx8s")
PASSED, LOST_BY_CHANCE, QUEUE_FULL = range(3)


@dataclass(slots=True)
class Packet:
    arrival: float  # seconds of CLOCK_MONOTONIC
    departure: float
    size: int
    source: int
    destination: int
    fate: int

    @property
    def wait(self):
        """Seconds from reaching the bottleneck to having left it."""
        return self.departure - self.arrival


def to_left(path):
    """The packets that a server sent, in the order in which they reached the link."""
    for arrival, departure, size, _, source, destination, _, fate, left, _ in RECORD.iter_unpack(Path(path).read_bytes()):
        if left:
            yield Packet(arrival / 1e9, departure / 1e9, size, source, destination, fate)


def percentile(values, share):
    """Nearest rank; 0 for no values."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def jitter(packets):
    """Of one stream of probes: the mean of RFC 3550's J over all of them, and |D|'s P95, in seconds."""
    j, sum_of_j, differences = 0.0, 0.0, []
    for before, after in zip(packets, packets[1:]):
        # RFC 3550 section 6.4.1. The delay of propagation is the same for all and cancels out.
        difference = abs(after.wait - before.wait)
        j += (difference - j) / 16
        sum_of_j += j
        differences.append(difference)
    return sum_of_j / max(len(differences), 1), percentile(differences, 0.95)
