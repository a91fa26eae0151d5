"""A quick part of the matrix; scripts/interop runs the whole."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import cases


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("peer", cases.PEERS)
@pytest.mark.parametrize("name", cases.QUICK)
def test_case(name, peer, role):
    if not Path(cases.PEERS[peer][0]).exists():
        pytest.skip(f"{peer} is missing: it needs Python 3.12 or later")
    other = "server" if role == "client" else "client"
    if reason := cases.NOT_APPLICABLE.get((peer, other, name)):
        pytest.skip(reason)
    fault = cases.run(name, role, peer)
    assert fault is None, fault
