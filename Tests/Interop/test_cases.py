"""A quick part of the matrix; scripts/interop runs the whole."""

import cases
import pytest


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("peer", cases.PEERS)
@pytest.mark.parametrize("name", cases.QUICK)
def test_case(name, peer, role):
    cell = (peer, "server" if role == "client" else "client", name)
    if reason := cases.missing(cell) or cases.NOT_APPLICABLE.get(cell) or cases.FAULTS_OF_PEERS.get(cell):
        pytest.skip(reason)
    fault = cases.run(name, role, peer)
    assert fault is None, fault
