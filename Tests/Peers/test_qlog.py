"""The qlogs of a real run: one file of each end for each connection, readable by its owner alone."""

import json
import subprocess
import sys

import test_http3_server
from conftest import BIN, ROOT, PoP


def records(path):
    """The records of a JSON text sequence (RFC 7464)."""
    texts = path.read_bytes().split(b"\x1e")
    assert texts[0] == b""
    assert all(text.endswith(b"\n") for text in texts[1:])
    return [json.loads(text) for text in texts[1:]]


def test_a_pop_writes_a_qlog_of_each_connection(tmp_path):
    folder = tmp_path / "qlog"
    folder.mkdir()
    pop = PoP(tmp_path, f"transport: {{qlogDirectory: {folder}}}").start()
    test_http3_server.test_aioquic_fetches_a_page(pop)
    pop.stop()
    [file] = folder.iterdir()
    assert file.name.endswith("_server.sqlog") and file.stat().st_mode & 0o777 == 0o600
    header, *events = records(file)
    assert header["file_schema"] == "urn:ietf:params:qlog:file:sequential"
    assert header["trace"]["vantage_point"]["type"] == "server"
    assert header["trace"]["common_fields"]["group_id"] == file.name.split("_")[0]
    assert "wall_clock_time" in header["trace"]["common_fields"]["reference_time"]
    times = [event["time"] for event in events]
    assert times == sorted(times)
    names = {event["name"] for event in events}
    assert names >= {
        "quic:connection_started", "quic:parameters_set", "quic:packet_sent", "quic:packet_received",
        "quic:recovery_metrics_updated", "quic:stream_data_moved", "quic:connection_closed",
    }
    owners = {event["data"]["initiator"] for event in events if event["name"] == "quic:parameters_set"}
    assert owners == {"local", "remote"}
    sent = [event["data"] for event in events if event["name"] == "quic:packet_sent"]
    assert any(frame["frame_type"] == "handshake_done" for packet in sent for frame in packet["frames"])
    # qvis knows the events by the names of version 0.3.
    older = subprocess.run(
        [sys.executable, ROOT / "scripts" / "qlog-for-qvis", file], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    names = {json.loads(text).get("name") for text in older.split("\x1e")[1:]}
    assert {"transport:packet_sent", "recovery:metrics_updated", "transport:parameters_set"} <= names


def test_a_directory_that_is_not_there_is_named(tmp_path):
    pop = PoP(tmp_path)
    run = subprocess.run(
        [BIN / "cbpop", "--dev", "--config", pop.config, "--state-directory", pop.state, "--qlog-dir", "/nowhere/at/all"],
        capture_output=True, text=True, timeout=30)
    assert run.returncode == 1
    assert "cannot write qlogs into /nowhere/at/all: No such file or directory" in run.stderr
