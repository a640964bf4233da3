"""A wire of one's own: what is sent takes its time, and what is lost comes later, or never."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from iosim.machine.wire import Wire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")

BEGIN = """
import json, socket, sys, time
from iosim.echo.survivor import unacked
from iosim.machine.wire import HERE, THERE, Wire
try:
    wire = Wire(delay_s=0.02)
except OSError as error:
    sys.exit(f"refused: {error}")
door = socket.create_server((HERE, 0))
start = time.monotonic()
client = socket.create_connection((THERE, door.getsockname()[1]))
took = {"connect": time.monotonic() - start}
server = door.accept()[0]
def exchange(name, nbytes):
    start = time.monotonic()
    client.sendall(bytes(nbytes)); server.recv(nbytes, socket.MSG_WAITALL)
    took[name] = time.monotonic() - start
"""


def told_by(rest: str) -> dict:
    words = [sys.executable, "-c", BEGIN + rest]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60)
    if ran.stderr.startswith("refused"):
        pytest.skip(f"no network of one's own here: {ran.stderr.strip()}")
    return json.loads(ran.stdout)


def test_each_direction_takes_its_time_and_a_lost_packet_is_sent_again() -> None:
    took = told_by("""
exchange("sent", 100)
while unacked(client):
    time.sleep(0.001)
wire.carried.clear()
wire.lose = 1
exchange("lost", 100)
took["carried"] = wire.carried
print(json.dumps({**took, "addresses": [server.getpeername()[0], client.getpeername()[0]]}))
""")
    assert took["addresses"] == ["10.0.0.2", "10.0.0.2"]
    assert took["connect"] >= 2 * 0.02
    assert took["sent"] >= 0.02
    assert took["lost"] >= 0.2  # TCP_RTO_MIN: include/net/tcp.h
    assert took["carried"][:2] == [100, 100]


def test_what_is_longer_than_a_packet_comes_in_several() -> None:
    told = told_by("""
exchange("sent", 3_000)
many = sorted(wire.carried)
print(json.dumps({"carried": many, "sum": sum(many)}))
""")
    assert len(told["carried"]) >= 3
    assert max(told["carried"]) <= 1_500 - 40
    assert told["sum"] >= 3_000  # more, if one of them was sent twice


def test_a_datagram_that_is_lost_is_lost() -> None:
    told = told_by("""
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind((HERE, 0))
    one.settimeout(20)
    for wire.lose in (1, 0):
        one.sendto(b"lost" if wire.lose else b"found", (THERE, one.getsockname()[1]))
        while wire.lose:
            time.sleep(0.001)
    print(json.dumps({"first": one.recv(100).decode()}))
""")
    assert told == {"first": "found"}


def test_elsewhere_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OSError, match="not implemented"):
        Wire()


def test_a_size_that_is_none_is_refused_before_anything_is_changed() -> None:
    with pytest.raises(ValueError, match="mtu must be from 68 to 65,535 bytes, got 10"):
        Wire(mtu=10)
