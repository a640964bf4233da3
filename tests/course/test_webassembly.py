"""In a browser there are no threads, no alarm and no processes: what is simulated needs none.

Another Python is made to look like that one (Pyodide), by what it lacks.
"""

import subprocess
import sys

import pytest

LACKS = """
import _thread, signal, sys, threading, time, warnings

sys.platform = "emscripten"
del signal.setitimer, time.thread_time_ns, threading.get_native_id

def none(*_, **named):
    raise RuntimeError("can't start new thread")

_thread.start_new_thread = threading._start_new_thread = none
if hasattr(threading, "_start_joinable_thread"):  # Python 3.13
    threading._start_joinable_thread = none
warnings.simplefilter("ignore")
"""


def there(text: str) -> str:
    """What a program prints in a Python that lacks all that."""
    ran = subprocess.run(
        [sys.executable, "-c", LACKS + text], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


SERVER = """
from iosim import clients, hunt, measure, models, simulate, traffic, Unsupported

def server(listener):
    import selectors
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                elif data := key.fileobj.recv(100):
                    key.fileobj.sendall(data)
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
"""


def test_programs_are_simulated_and_hunted() -> None:
    said = there(f"""{SERVER}
print(len(simulate(models.blocking, traffic.one()).call_log))
print([visit.received for visit in simulate(server, clients.several(2, clients.echo())).visits])
print(hunt(server, None, clients.several(2, clients.echo(1, 10)), cases=100).cases)
""")
    assert said.split("\n")[:3] == ["1", "[1000, 1000]", "100"]


def test_asyncio_runs() -> None:
    said = there("""
from iosim import clients, simulate

async def server(listener):
    import asyncio
    async def handle(reader, writer):
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
        writer.close()
    async with await asyncio.start_server(handle, sock=listener) as serving:
        await serving.serve_forever()

print([visit.received for visit in simulate(server, clients.several(2, clients.echo())).visits])
""")
    assert said == "[1000, 1000]\n"


def test_exercises_are_judged() -> None:
    """All but the one that needs a thread."""
    said = there("""
from iosim.exercises import EXERCISES, check
for name, exercise in EXERCISES.items():
    print(check(exercise.solution, name))
""")
    *judged, last = said.splitlines()
    assert [line.partition(":")[0] for line in judged] == ["RIGHT"] * 11
    assert last == (
        "CANNOT JUDGE: EventLoop: threads are not simulated on emscripten, which has none"
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring: Python 3.12")
def test_what_runs_on_and_on_is_ended() -> None:
    said = there("""
import sys
from iosim.exercises import check

def recv_exactly(sock, n):
    while True:
        pass

print(check(recv_exactly))
print([tool for tool in range(6) if sys.monitoring.get_tool(tool)])
""")
    assert said.splitlines() == [
        "NOT YET: it runs on and on, and makes no call: nothing can happen meanwhile", "[]",
    ]  # fmt: skip


def test_what_cannot_be_measured_is_a_recorded_run_or_says_so() -> None:
    said = there(f"""{SERVER}
print(measure(models.blocking, traffic.one(after_ms=20, size=1_000)).kernel)
try:
    measure(server, clients.of(clients.echo()))
except Unsupported as error:
    print(error)
""")
    assert said.splitlines() == [
        "recorded", "this system has no processes: the process of the clients is one",
    ]  # fmt: skip
