"""A quick part of the matrix; scripts/interop runs the whole."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import cases


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("name", cases.QUICK)
def test_with_aioquic(name, role):
    fault = cases.run(name, role)
    assert fault is None, fault
