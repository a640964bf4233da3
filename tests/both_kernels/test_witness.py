"""strace as a witness: it saw the calls that our recorder and the simulation list, and no others.

Nothing here depends on a time: strace makes a call several times as long.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from errno import EAGAIN
from pathlib import Path
from types import ModuleType
from typing import Any

import everything
import pytest
from oracles.strace import traced_process as stand
from oracles.strace import witness as bench
from oracles.strace.pickled_function import pack, unpack
from oracles.strace.strace_analysis import CALLS, FD, GUARD, RULES
from oracles.strace.witness import Audit, audit, witness
from paths import ROOT
from waiting import until

from iosim import Costs, calls, models, simulate, traffic
from iosim.calls import (
    SIG_BLOCK,
    SIG_UNBLOCK,
    SIGIO,
    SIZE,
    Program,
    Request,
    getpid,
    ms,
    recvfrom,
    sigaction,
    sigprocmask,
)
from iosim.kernels.launch import launch
from iosim.real import strace
from iosim.real.features import Unsupported, features
from iosim.trace import FIGURE_6_6, SLEEPING, Timeline

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")

HERE = {name: why_not for name, there, why_not in features() if not there}
needs_strace = pytest.mark.skipif("strace" in HERE, reason=f"no strace: {HERE.get('strace')}")
NEEDS = {"asynchronous": "io_uring", "asynchronous_aio": "POSIX aio"}
SOON_S = 10.0
LATE = 20  # ms; each message waits for the program, so that nothing rests on it
STORIES = {
    "one": traffic.one(LATE),
    "two": traffic.several(2, every_ms=LATE).in_step(),
    "stream": traffic.one(LATE, transport="tcp").in_step().then("eof", after_ms=LATE),
}


def need(*wanted: str) -> None:
    """Skip where this system lacks one of the features."""
    for feature in wanted:
        if feature in HERE:
            pytest.skip(f"no {feature} here")


def predicted(program: Any, story: traffic.Traffic) -> Timeline:
    return simulate(program, story, costs=Costs.typical())


# -- nothing is left ---------------------------------------------------------------------------

MARK = "IOSIM_TEST_OF_WITNESS"


def descendants() -> list[str]:
    """Processes that inherited our mark, wherever they belong now."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{MARK}={os.getpid()}".encode() in (process / "environ").read_bytes()
            alive = process.name != str(os.getpid()) and "Z" not in state(process)
        except OSError:
            continue
        found += [process.name] if marked and alive else []
    return found


def state(process: Path) -> str:
    return (process / "stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No process, thread, descriptor or file of a run survives it."""
    monkeypatch.setenv(MARK, str(os.getpid()))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    yield
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("iosim")] == []
    until(lambda: not descendants(), SOON_S)


# -- what it is for ----------------------------------------------------------------------------


@needs_strace
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("name", models.MODEL_OF)
def test_strace_saw_the_calls_that_were_listed(name: str, story: str) -> None:
    need(*[NEEDS[name]] if name in NEEDS else [])
    program, told, model = getattr(models, name), STORIES[story], models.MODEL_OF[name]
    found = audit(program, told)
    assert found.differences() == []
    if model != "nonblocking":  # how often it polls is a matter of time, and this run was slow
        assert found.differences(predicted(program, told)) == []
    seen, listed = found.timeline.check(), found.recorder.check()
    assert (seen.kernel, listed.kernel) == ("witnessed", "measured")
    assert seen.machine == listed.machine
    assert "under strace" in seen.machine
    assert seen.title == name
    rows = seen.figure_6_6(), listed.figure_6_6()
    assert rows[0] == rows[1]
    assert all(row.agrees(FIGURE_6_6[model]) for row in rows)
    assert [fate.told for fate in seen.deliveries] == [fate.told for fate in listed.deliveries]
    assert all(fate.received is not None for fate in seen.deliveries)
    assert sum(call.nbytes for call in seen.call_log) == told.nbytes()


@needs_strace
def test_strace_saw_every_call_of_the_vocabulary() -> None:
    need("io_uring", "POSIX aio", "epoll", "real-time signals")
    found = audit(everything.everything, everything.STORY)
    assert found.differences() == []
    found.timeline.check()
    assert {name for name, _ in found.timeline.calls()} == vocabulary() - NOT_WATCHED


#: Those of servers and of pipes, which have no place in a program over traffic; and recvmsg, which
#: is the real kernel's recvfrom.
NOT_WATCHED = {
    *("accept", "close", "connect", "eventfd", "getsockname", "getsockopt", "kevent", "kqueue"),
    *("io_uring_submit_and_wait", "listen", "memfd_create", "pipe", "pthread_create"),
    *("pthread_join", "read", "recvmsg", "send", "shutdown", "socket", "write"),
}


def vocabulary() -> set[str]:
    named = [getattr(calls, name) for name in calls.__all__]
    requests = [one for one in named if isinstance(one, type) and issubclass(one, Request)]
    return {one.__name__ for one in requests if one is not Request and one.trap}


@needs_strace
def test_one_process_for_many_connections() -> None:
    story = traffic.several(4, every_ms=LATE, connections=2).in_step()
    found = audit(models.multiplexing_epoll, story)
    assert (
        found.differences() == found.differences(predicted(models.multiplexing_epoll, story)) == []
    )
    assert [fate.connection for fate in found.timeline.check().deliveries] == [0, 1, 0, 1]


@needs_strace
def test_what_was_not_received_has_arrived_all_the_same() -> None:
    def first_of_three(fds: Sequence[int], nbytes: int) -> Program:
        yield recvfrom(fds[0], SIZE)
        yield recvfrom(fds[1], SIZE)  # it comes after the other two

    story = traffic.replay([(ms(LATE), 1_000, 0)] * 3 + [(ms(LATE + 5), 1_000, 1)])
    seen = witness(first_of_three, story).check()
    assert [fate.received is None for fate in seen.deliveries] == [False, True, True, False]
    assert all(fate.arrived is not None for fate in seen.deliveries)


def crosswise(fds: Sequence[int], nbytes: int) -> Program:
    """Message 1 comes first, and for the other descriptor."""
    yield recvfrom(fds[1], SIZE)
    yield recvfrom(fds[0], SIZE)


@needs_strace
def test_a_call_sleeps_until_what_it_waits_for_has_arrived() -> None:
    seen = witness(crosswise, traffic.several(2, every_ms=LATE, connections=2).in_step()).check()
    asleep = [i for i in seen.lane("process") if i.state == SLEEPING]
    assert [(i.call, i.end) for i in asleep] == [(seen.call_log[0], seen.deliveries[1].arrived)]


def made_up(fd: int, nbytes: int) -> Program:
    try:
        yield recvfrom(9_999, SIZE)
    except OSError:
        yield recvfrom(fd, SIZE)


@needs_strace
def test_the_witness_contradicts() -> None:
    """The recorder answers EBADF for another's descriptor by itself: the kernel was never asked."""
    assert audit(made_up, STORIES["one"]).differences()[3:] == ["-recvfrom EBADF", " recvfrom"]


def guarded(fd: int, nbytes: int) -> Program:
    """A second sigaction is a call as well; the guard of sigprocmask is none of the program's."""

    def handler(signo: int) -> Program:
        yield getpid()

    yield sigprocmask(SIG_BLOCK, [SIGIO])
    for _ in range(2):
        yield sigaction(SIGIO, handler)
    yield sigprocmask(SIG_UNBLOCK, [SIGIO])


@needs_strace
def test_a_guard_is_left_out_and_counted() -> None:
    found = audit(guarded, STORIES["one"])
    assert found.differences() == []
    assert [name for name, _ in found.timeline.calls()].count("sigaction") == 2
    assert found.left_out()[GUARD] == {"rt_sigaction": 1}


@needs_strace
def test_nothing_is_left_out_in_silence() -> None:
    found = audit(models.blocking, STORIES["one"])
    assert all(bool(heard.call) != bool(heard.rule) for heard in found.heard)
    assert {heard.rule for heard in found.heard if heard.rule} <= set(RULES)
    assert {heard.line.name for heard in found.heard} <= set(CALLS)
    left_out = sum(names.total() for names in found.left_out().values())
    assert left_out + len(found.timeline.calls()) == len(found.heard)
    assert "left out:" in str(found)


@needs_strace
def test_a_long_audit_is_cut() -> None:
    def often(fd: int, nbytes: int) -> Program:
        for _ in range(100):
            yield getpid()

    text = str(audit(often, STORIES["one"]))
    assert "  ... and " in text
    assert len(text.splitlines()) < 70


# -- a stored log ------------------------------------------------------------------------------

LOG = everything.LOG.read_text("utf-8")
LINES = LOG.splitlines(keepends=True)


def heard_in(log: str) -> Audit:
    """What a log says, beside what the simulation lists."""
    story = everything.STORY
    timeline, heard = bench.read(log, launch(everything.everything, story, {}))
    return Audit(timeline, predicted(everything.everything, story), heard)


def test_a_stored_log_is_read_as_ever() -> None:
    assert everything.reading(LOG) == everything.READ.read_text("utf-8")
    assert heard_in(LOG).differences() == []


def test_who_was_woken_slept_though_strace_began_late_to_count() -> None:
    """A call that ends, as strace counts, before the message for which it returns was sent."""
    line = LINES[place("epoll_wait(", "= 1 <0.186596652>")]
    early = line.replace("<0.186", "<0.176")
    assert waits_asleep(LOG.replace(line, early)) == waits_asleep(LOG) == 1


def waits_asleep(log: str) -> int:
    """How many of the process's sleeps in epoll_wait(2) have a length."""
    sleeps = [i for i in heard_in(log).timeline.check().intervals if i.state == SLEEPING]
    return sum(
        i.duration > 0 and i.call is not None and i.call.name == "epoll_wait" for i in sleeps
    )


def place(*parts: str) -> int:
    """Where the first line of the run stands that holds all of `parts`."""
    begun = next(n for n, line in enumerate(LINES) if "iosim begin" in line)
    return next(n for n in range(begun, len(LINES)) if all(part in LINES[n] for part in parts))


def without(lines: list[str]) -> list[str]:
    lines.pop(place("poll("))
    return lines


def twice(lines: list[str]) -> list[str]:
    lines.insert(place("poll("), LINES[place("poll(")])
    return lines


def swapped(lines: list[str]) -> list[str]:
    here = place("epoll_create1(")
    lines[here - 1 : here + 1] = lines[here], lines[here - 1]
    return lines


def other_errno(lines: list[str]) -> list[str]:
    here = place("recvmsg(3", "EAGAIN")
    lines[here] = lines[here].replace("EAGAIN", "ECONNRESET")
    return lines


def other_descriptor(lines: list[str]) -> list[str]:
    here = place("recvmsg(3", "EAGAIN")
    lines[here] = lines[here].replace("recvmsg(3", "recvmsg(4")
    return lines


def other_call(lines: list[str]) -> list[str]:
    here = place("getpid(")
    lines[here] = lines[here].replace("getpid(", "pause(")
    return lines


FAULTS = [without, twice, swapped, other_errno, other_descriptor, other_call]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_seen(fault: Any) -> None:
    found = heard_in("".join(fault([*LINES])))
    assert found.differences() != []
    assert (fault is other_descriptor) == ("recvmsg" in found.left_out().get(FD, ()))


@pytest.mark.parametrize(
    ("old", "new", "error", "says"),
    [
        ("iosim begin", "iosim began", RuntimeError, "no beginning of a run"),
        ("iosim end", "iosim ended", RuntimeError, "no end of a run"),
        (" getpid()  ", " getpid()! ", ValueError, "not a line of strace's log"),
        (LINES[0], "strace: out of memory\n", ValueError, "not a line of strace's log"),
    ],
)
def test_a_log_that_cannot_be_read(old: str, new: str, error: type, says: str) -> None:
    assert old in LOG
    with pytest.raises(error, match=says):
        heard_in(LOG.replace(old, new))


# -- the lines of a log ------------------------------------------------------------------------

HALVES = """\
7  1.000000001 recvmsg(3,  <unfinished ...>
8  1.000000002 futex(0x7f, FUTEX_WAIT, 0, NULL <unfinished ...>
7  1.000000003 <... recvmsg resumed>{msg_iov=[{iov_base="a,\\"b)", iov_len=9}]}, 0) = 5 <0.00000002>
7  1.5 clock_nanosleep(CLOCK_MONOTONIC, 0, NULL) = ? ERESTARTNOHAND (To be restarted) <0.25>
7  1.75 --- SIGRT_2 {si_signo=SIGRT_2, si_code=POLL_IN} ---
7  1.80 rt_sigreturn({mask=[]}) = -1 EINTR (Interrupted system call) <0.01>
7  1.81 mmap(NULL, 4096) = 0x7f00 <0.01>
7  1.9 exit_group(0) = ?
8  1.9 <... futex resumed>) = ?
7  1.9 --- stopped by SIGSTOP ---
7  1.9 +++ exited with 0 +++
"""


def test_the_forms_of_a_line() -> None:
    first, futex, asleep, signalled, back, mmap, over = strace.parse(HALVES)
    assert isinstance(signalled, strace.Signalled)
    assert (signalled.tid, signalled.at, signalled.signo) == (7, 1_750_000_000, 34)
    lines = [
        line for line in (first, futex, asleep, back, mmap, over) if isinstance(line, strace.Line)
    ]
    assert [(line.name, line.start - 10**9, line.end - 10**9) for line in lines] == [
        ("recvmsg", 1, 21), ("futex", 2, 2), ("clock_nanosleep", 500_000_000, 750_000_000),
        ("rt_sigreturn", 800_000_000, 810_000_000), ("mmap", 810_000_000, 820_000_000),
        ("exit_group", 900_000_000, 900_000_000),
    ]  # fmt: skip
    assert [line.value for line in lines] == [5, None, None, -1, 0x7F00, None]
    assert [line.interrupted for line in lines] == [False, False, True, True, False, False]
    assert lines[0].args == ("3", '{msg_iov=[{iov_base="a,\\"b)", iov_len=9}]}', "0")
    assert lines[0].number(0) == 3
    assert lines[0].number(7) == -1


def test_a_call_that_never_returned() -> None:
    (line,) = strace.parse("7 1.5 read(3,  <unfinished ...>\n")
    assert isinstance(line, strace.Line)
    assert (line.name, line.value, line.number(0)) == ("read", None, 3)


def test_half_of_no_call() -> None:
    with pytest.raises(ValueError, match="the other half of no call"):
        strace.parse("7 1.5 <... read resumed>) = 0 <0.000001>\n")


def test_an_errno_by_its_name() -> None:
    (line,) = strace.parse("7 1.5 read(3, 0x1, 9) = -1 EAGAIN (Try again) <0.000001>\n")
    assert isinstance(line, strace.Line)
    assert (line.errno, line.words) == (EAGAIN, ())


# -- programs on their way ---------------------------------------------------------------------


@needs_strace
def test_a_program_with_a_closure() -> None:
    times, seen = 3, []

    def several(fd: int, nbytes: int, more: int = 1) -> Program:
        for _ in range(times + more):
            seen.append((yield getpid()))

    run = witness(several, STORIES["one"], more=2)
    assert run.calls() == [("getpid", None)] * 5
    assert seen == []  # it ran in another process
    assert "times + more" in run.source


NOTEBOOK = """
from iosim.calls import getpid
import threading
TIMES, LOCK, NUMBER = 2, threading.Lock(), int
class Own: pass
def ask(left):
    if left:
        yield getpid()
        yield from ask(left - 1)
def program(fd, nbytes): yield from ask(TIMES)
def locked(fd, nbytes):
    with LOCK: yield getpid()
def classy(fd, nbytes): yield Own()
def boxed():
    class Box: size: NUMBER
    return Box.__annotations__
"""


def notebook(name: str) -> Any:
    """A function as it were typed into a notebook: in no file, and in a module called __main__."""
    cell: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(NOTEBOOK, "<cell>", "exec", dont_inherit=True), cell)  # no __future__ of ours
    return cell[name]


@needs_strace
def test_a_program_of_a_notebook() -> None:
    assert witness(notebook("program"), STORIES["one"]).calls() == [("getpid", None)] * 2


@pytest.mark.parametrize(("name", "what"), [("locked", "lock"), ("classy", "class Own")])
def test_what_cannot_be_sent(name: str, what: str) -> None:
    with pytest.raises(TypeError, match=f"{name} cannot be sent to another process: .*{what}"):
        pack(name, notebook(name))


def test_an_annotation_names_a_global_too() -> None:
    assert unpack(pack("boxed", notebook("boxed")))() == {"size": int}


def test_what_has_not_been_bound_yet() -> None:
    def program(fd: int, nbytes: int) -> Program:
        yield later

    sent = unpack(pack("program", program))
    later = getpid()
    later.number = 0  # it was made
    with pytest.raises(NameError):
        next(sent(3, 1))
    assert next(program(3, 1)) is later


def test_a_module_that_cannot_be_imported() -> None:
    module = ModuleType("nowhere")

    def program(fd: int, nbytes: int) -> Program:
        yield module.call()

    with pytest.raises(TypeError, match="module nowhere cannot be imported there"):
        pack("program", program)


def test_an_importable_program_goes_by_its_name() -> None:
    assert len(pack("blocking", models.blocking)) < 100
    assert unpack(pack("blocking", models.blocking)) is models.blocking


def test_a_sent_program_is_the_same_program() -> None:
    def with_all(fd: int, nbytes: int, *, word: str = "defaults") -> Program:
        word += NOTEBOOK[:0]
        yield getpid()
        return word, with_all.__name__

    sent = unpack(pack("with_all", with_all))
    assert sent is not with_all
    program = sent(3, 1)
    next(program).number = 0  # it was made
    with pytest.raises(StopIteration) as over:
        next(program)
    assert over.value.value == ("defaults", "with_all")


# -- errors ------------------------------------------------------------------------------------


def greedy(fd: int, nbytes: int) -> Program:
    yield recvfrom(fd, SIZE)
    yield recvfrom(fd, SIZE)


def suicidal(fd: int, nbytes: int) -> Program:
    os.kill((yield getpid()), signal.SIGKILL)


def forgetful(fd: int, nbytes: int) -> Program:
    yield getpid()
    getpid()
    yield getpid()


def unsupported(fd: int, nbytes: int) -> Program:
    yield getpid()
    raise Unsupported("ring", "of a bell")


@needs_strace
@pytest.mark.parametrize(
    ("program", "error", "says"),
    [
        (greedy, TimeoutError, "greedy was not over after 0.5 s: it was in recvfrom"),
        (forgetful, RuntimeError, "was made but never yielded"),
        (unsupported, Unsupported, "this system has no ring: of a bell"),
        (suicidal, RuntimeError, "ended without an answer"),
    ],
)
def test_an_error_comes_out(program: Any, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        witness(program, STORIES["one"], limit_s=0.5)


@needs_strace
def test_an_uncaught_errno_says_where() -> None:
    story = traffic.one(LATE, transport="tcp").then("reset", after_ms=LATE)
    with pytest.raises(ConnectionResetError) as caught:
        witness(models.blocking, story)
    place, trace = caught.value.__notes__
    assert "recvfrom" in place
    assert "models.py" in trace


def test_bad_arguments_start_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(TypeError, match="no option 'often'"):
        witness(models.blocking, STORIES["one"], often=True)
    with pytest.raises(ValueError, match="rcvbuf must be"):
        witness(models.blocking, STORIES["one"], rcvbuf=0)
    with pytest.raises(ValueError, match="limit_s must be above 0"):
        witness(models.blocking, STORIES["one"], limit_s=0)
    with pytest.raises(ValueError, match="serves one fd and the story has 2"):
        witness(models.blocking, traffic.several(2, connections=2))


@needs_strace
def test_who_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SLACK_S", 0.5)

    def stuck(fd: int, nbytes: int) -> Program:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        time.sleep(60)
        yield getpid()

    with pytest.raises(TimeoutError, match="stuck under strace was not over after 1 s"):
        witness(stuck, STORIES["one"], limit_s=0.5)


FINDS_THE_ORACLE = {"PYTHONPATH": str(ROOT / "tests")}
INTERRUPTED = """
import signal
from oracles.strace.witness import witness

from iosim import models, traffic
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever whoever started us ignores
witness(models.blocking, traffic.one(60_000), limit_s=60)
"""


@needs_strace
def test_ctrl_c_ends_all_of_it() -> None:
    script = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stderr=subprocess.PIPE,
        env=os.environ | FINDS_THE_ORACLE,
    )
    until(lambda: len(descendants()) >= 4, SOON_S * 3)  # it, strace, the program, the sender
    script.send_signal(signal.SIGINT)
    _, err = script.communicate(timeout=SOON_S)
    assert b"KeyboardInterrupt" in err


@needs_strace
def test_in_another_thread_signals_work_too() -> None:
    found: list[Timeline] = []
    thread = threading.Thread(
        target=lambda: found.append(witness(models.signal_driven, STORIES["one"]))
    )
    thread.start()
    thread.join(SOON_S * 2)
    assert found[0].figure_6_6().agrees(FIGURE_6_6["signal_driven"])


@needs_strace
def test_what_the_program_prints_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def loud(fd: int, nbytes: int) -> Program:
        print("heard")
        print("and seen", file=sys.stderr)
        yield getpid()

    witness(loud, STORIES["one"])
    assert capsys.readouterr() == ("heard\n", "and seen\n")


# -- without strace, or with another one -------------------------------------------------------


@pytest.fixture
def another_strace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Puts a script in strace's place; None leaves the place empty."""

    def put(script: str | None) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        if script is None:
            monkeypatch.setenv("PATH", str(folder))
        else:
            (folder / "strace").write_text(f"#!/bin/sh\n{script}\n")
            (folder / "strace").chmod(0o755)
            monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        strace._options.cache_clear()
        strace.version.cache_clear()

    yield put
    strace._options.cache_clear()
    strace.version.cache_clear()


REFUSED = "strace: ptrace(PTRACE_TRACEME, ...): Operation not permitted"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "strace is not installed"),
        (f"echo '{REFUSED}' >&2; exit 1", "cannot trace here: .*Operation not permitted"),
        ("exit 3", "cannot trace here: it ends with status 3"),
    ],
)
def test_no_strace(another_strace: Any, script: str | None, reason: str) -> None:
    another_strace(script)
    with pytest.raises(Unsupported, match=f"this system has no strace: .*{reason}"):
        witness(models.blocking, STORIES["one"])
    assert ("strace", False) in [row[:2] for row in features()]


@needs_strace
def test_an_older_strace_counts_in_us(another_strace: Any) -> None:
    real = subprocess.run(["which", "strace"], capture_output=True, text=True, check=True)
    another_strace(
        f'case "$*" in *precision*) exit 1;; -V) echo version 4.26; exit;; esac\n'
        f'exec {real.stdout.strip()} "$@"'
    )
    found = audit(models.blocking, STORIES["one"])
    assert found.differences() == []
    assert found.timeline.check().machine.endswith("under strace 4.26")
    (call,) = found.timeline.call_log
    assert (call.end - call.start) % 1_000 == 0


# -- the stand, unwatched ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["blocking", "signal_waiting", "asynchronous"])
def test_the_stand_needs_no_strace(name: str, tmp_path: Path) -> None:
    """It is the real kernel: the same calls come out, watched or not."""
    need(*[NEEDS[name]] if name in NEEDS else [])
    program, answer = getattr(models, name), tmp_path / "answer"
    stand.main(pack(name, (program, STORIES["one"], {}, None, SOON_S)), str(answer))
    run = unpack(answer.read_bytes())
    assert run.check().calls() == predicted(program, STORIES["one"]).calls()


def test_an_error_that_cannot_travel(tmp_path: Path) -> None:
    class Homeless(Exception):
        pass

    error = stand._sendable(Homeless("nowhere"))
    assert str(error) == "Homeless: nowhere"
    stand.main(b"no parcel", str(tmp_path / "answer"))
    assert isinstance(unpack((tmp_path / "answer").read_bytes()), Exception)
