"""What a neighbor sees of a PoP whose process is killed."""

import contextlib
import socket
import struct

from namespaces import call_inside

MARKER = b"\xff" * 16
KEEPALIVE = MARKER + struct.pack("!HB", 19, 4)


def open_message(number, address):
    body = struct.pack("!BHH4sB", 4, number, 90, socket.inet_aton(address), 0)
    return MARKER + struct.pack("!HB", 19 + len(body), 1) + body


def test_its_neighbor_hears_of_it_no_later_than_the_machine(lab):
    """The sockets are closed by the dying process, not by what takes its rings apart afterwards."""
    number, space = lab.link()
    entry = f"    - {{name: r{number}, address: 10.77.{number}.2, remoteAS: 65001, passive: true}}\n"
    pop = lab.start_pop(f"  neighbors:\n{entry}")
    pop.log.wait_for("cbpop is ready")
    peer = call_inside(space, socket.socket, socket.AF_INET, socket.SOCK_STREAM)
    with contextlib.closing(peer):
        peer.settimeout(5)
        peer.connect((f"10.77.{number}.1", 179))
        peer.sendall(open_message(65001, f"10.77.{number}.2") + KEEPALIVE)
        pop.log.wait_for("to=Established")
        pop.process.kill()
        pop.process.wait()
        peer.setblocking(False)
        # What had come before the end, then the end: never "nothing yet".
        while peer.recv(4096):
            pass
