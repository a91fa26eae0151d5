"""cbpop policy test: policy files, tried offline."""

import json
import re
import subprocess

import pytest

from conftest import BIN, ROOT

EXAMPLE = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "bgp-policy.md").read_text(), re.DOTALL)[1]


@pytest.fixture
def policy(tmp_path):
    if not (BIN / "cbpop").exists():
        pytest.skip(f"NOT TESTED: there is no {BIN}/cbpop")

    def run(text, *arguments):
        file = tmp_path / "policy.yaml"
        file.write_text(text)
        return subprocess.run(
            [BIN / "cbpop", "policy", "test", file, *arguments], capture_output=True, text=True, timeout=30, check=False
        )

    return run


def test_the_example_of_the_documentation(policy):
    result = policy(EXAMPLE, "203.0.113.0/25", "10.1.0.0/16", "--as-path", "65001 7")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        '203.0.113.0/25: permit (localPreference 200, +64512:1): from-customers: rule "ours" permits it',
        '10.1.0.0/16: deny: from-customers: rule "no bogons" denies it',
    ]


def test_what_a_route_is_like_counts(policy):
    route = ["203.0.113.0/25", "--as-path", "65001 666 7", "--json"]
    answer = json.loads(policy(EXAMPLE, *route).stdout)
    assert answer["isPermitted"] is False and "no rule settles it" in answer["reason"]
    answer = json.loads(policy(EXAMPLE, "203.0.113.0/25", "--origin-validity", "invalid", "--json").stdout)
    assert answer["reason"] == 'from-customers: rule "no hijacks" denies it'


def test_an_expectation_is_an_exit_status(policy):
    assert policy(EXAMPLE, "203.0.113.0/25", "--expect", "permit").returncode == 0
    assert policy(EXAMPLE, "203.0.113.0/25", "--expect", "deny").returncode == 1


def test_all_faults_are_told_with_their_lines(policy):
    text = "policies:\n  x:\n    - if: {prefix: 10.0.0.0/33}\n    - set: {med: much}\n      then: maybe\n"
    result = policy(text, "10.0.0.0/8")
    assert result.returncode == 7 and result.stdout == ""
    lines = [line.split("policy.yaml:")[1] for line in result.stderr.splitlines()]
    assert [line.split(":")[0] for line in lines] == ["3", "4", "5"]
    assert '"10.0.0.0/33", character 10: "33" is no length; write 0 to 32' in lines[0]


@pytest.mark.parametrize("wrong", [["10.0.0.0"], ["10.0.0.0/8", "--as-path", "x"], ["10.0.0.0/8", "--policy", "nobody"]])
def test_wrong_arguments(policy, wrong):
    assert policy(EXAMPLE, *wrong).returncode == 64


def test_a_bomb_of_aliases_is_refused(policy):
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for name, before in zip("bcdefgh", "abcdefg", strict=True):
        text += f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    result = policy(text, "10.0.0.0/8")
    assert result.returncode == 7 and "aliases" in result.stderr
