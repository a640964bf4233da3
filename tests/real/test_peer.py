"""The sender by itself, in this process, and the making of recordings."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sender_plan import plan

from iosim import models, traffic
from iosim.kernels.launch import launch
from iosim.real import recordings
from iosim.real.helpers import sender as sending

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@pytest.fixture
def said() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe: what the sender hears, and what is said to it."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_the_sender_keeps_its_schedule_and_looks_at_us_meanwhile(said: tuple[int, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        told = plan("udp", ours.getsockname()[1], [[1, 30_000_000, 5, 0, "data"]])
        sender = sending.Sender(told)
        assert len(sender.ports()) == 1
        sender.zero, sender.input = sending.clock(), said[0]
        os.write(said[1], sending.WORKS)
        sender.replay()
        assert ours.recv(10) == b"\x01" * 5
    (number, before, after), *others = sender.sent
    assert (number, others) == (1, [])
    assert 30_000_000 <= before <= after
    assert {row[1] for row in sender.evidence} <= {"R", "S", "D"}
    assert all(row[0] < before for row in sender.evidence)
    for one in sender.sockets:
        one.close()


@pytest.mark.parametrize(("kind", "seen"), [("eof", b""), ("reset", ConnectionResetError)])
def test_the_sender_ends_a_stream_in_two_ways(kind: str, seen: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        sender = sending.Sender(plan("tcp", door.getsockname()[1], [[1, 0, 0, 0, kind]]))
        with door.accept()[0] as ours:
            sender.replay()
            if isinstance(seen, bytes):
                assert ours.recv(10) == seen
            else:
                with pytest.raises(seen):
                    ours.recv(10)
        for one in sender.sockets:
            one.close()


def test_the_sender_stops_when_its_input_ends(said: tuple[int, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        sender = sending.Sender(plan("udp", ours.getsockname()[1], [[1, 10**12, 1, 0, "data"]]))
        sender.zero, sender.input = sending.clock(), said[0]
        os.close(said[1])
        with pytest.raises(sending.Stop):
            sender.replay()
        assert sender.sent == []
        sender.sockets[0].close()


def test_a_recording_is_made_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "FOLDER", tmp_path / "new")
    module = SimpleNamespace(MODEL_OF={"blocking": "blocking"}, blocking=models.blocking)
    (path,) = recordings.record_all(module)
    assert path.is_file()
    found = recordings.load(launch(models.blocking, traffic.one(after_ms=20, size=1_000), {}))
    assert found is not None
    assert (found.kernel, found.title) == ("recorded", "blocking")
    assert recordings.load(launch(models.blocking, traffic.burst(2), {})) is None
