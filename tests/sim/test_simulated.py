"""The simulated kernel: invariants under any costs and stories, and each rule by itself."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from errno import EAGAIN, EBADF, EEXIST, EINPROGRESS, EINVAL, ENOENT
from itertools import cycle
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cores, costs, programs, stories

from iosim import Costs, Timeline, calls, clients, futures, measure, models, simulate, traffic
from iosim.calls import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    F_SETFL,
    F_SETOWN,
    F_SETSIG,
    MSG_DONTWAIT,
    MSG_PEEK,
    O_ASYNC,
    O_NONBLOCK,
    POLLNVAL,
    SELF,
    SIG_BLOCK,
    SIG_UNBLOCK,
    SIGIO,
    SIGRTMIN,
    SO_RCVTIMEO,
    Program,
    Request,
    aio_error,
    aio_read,
    aio_return,
    compute,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    fcntl,
    getpid,
    io_uring_enter,
    io_uring_peek_cqe,
    io_uring_prep_recv,
    io_uring_setup,
    io_uring_submit,
    io_uring_submit_and_wait,
    ms,
    pause,
    poll,
    recvfrom,
    select,
    setsockopt,
    sigaction,
    sigprocmask,
    sigtimedwait,
    sleep,
    us,
)
from iosim.calls.request import PREPARES
from iosim.sim.answers import SIDES
from iosim.sim.simulate import over_traffic
from iosim.trace import COPY, FIGURE_6_6, KERNEL, QUEUED, READY, SLEEPING, USER, WAIT

ONE = traffic.one(after_ms=20, size=1_000)
ROOMY = 1 << 30  # a receive buffer that no story of the tests fills


def test_a_message_has_arrived_when_its_first_part_is_being_copied() -> None:
    """Its second part comes 1 ns later, and takes nothing back."""
    free = {name: 0 for name in Costs.names() if name != "time_slice"}
    prices = Costs(**free | {"copy_per_byte": 1.0, "segment": 1})
    run = simulate(models.blocking, traffic.one(0, 32_769, "tcp"), costs=prices).check()
    assert run.deliveries[0].arrived == 0
    assert [i.end for i in run.lane("message 1")] == [32_768, 32_769]


def test_both_parts_of_a_message_that_are_there_are_copied_once() -> None:
    """Each piece was a copy of its own: two intervals over the same time, on one lane."""

    def late(fd: int, nbytes: int) -> Program:
        yield sleep(ms(60))
        assert len((yield recvfrom(fd, 65_536))) == 40_000

    run = simulate(late, traffic.one(size=40_000, transport="tcp"), costs=Costs(segment=us(100)))
    assert [i.state for i in run.check().lane("message 1")] == [WAIT, QUEUED, COPY]
    assert run.call_log[1].nbytes == 40_000


def test_nothing_overtakes_the_second_part_of_a_message() -> None:
    """Neither a message, nor the end; on another connection things come as they come."""
    taken: dict[int, bytes] = {}

    def read_all(fds: list[int], nbytes: int) -> Program:
        for fd in fds:
            taken[fd] = b""
            while data := (yield recvfrom(fd, 65_536)):
                taken[fd] += data

    sizes = [(0, 40_000), (0, 50_000), (0, 10), (1, 7)]
    messages = [traffic.Message(at, size, where) for at, (where, size) in enumerate(sizes)]
    ends = [traffic.Message(9, 0, where, "eof") for where in (0, 1)]
    story = traffic.Traffic((*messages, *ends), "tcp")
    run = simulate(read_all, story, costs=Costs(segment=us(100))).check()
    first = [message.payload(number) for number, message in enumerate(messages[:3], 1)]
    assert list(taken.values()) == [b"".join(first), messages[3].payload(4)]
    assert [d.message for d in run.deliveries] == [1, 2, 3, 4]
    one, two, three, four = (d.arrived for d in run.deliveries)
    assert (one, two, three, four) == (ms(1.1), ms(1.2), ms(1.2), ms(1) + 3)


# -- properties --------------------------------------------------------------------------------


@given(program=programs, story=stories(), prices=costs, on=cores)
def test_invariants_hold_and_no_message_is_lost(
    program: Any, story: traffic.Traffic, prices: Costs, on: int
) -> None:
    run = simulate(program, story, costs=prices, cores=on, rcvbuf=ROOMY)
    run.check()
    assert all(d.received is not None and not d.dropped for d in run.deliveries)
    assert sum(c.nbytes for c in run.call_log if c.process in run.processes) == story.nbytes()


@given(program=programs, story=stories(), prices=costs, on=cores)
def test_figure_6_6_falls_out_of_the_join(
    program: Any, story: traffic.Traffic, prices: Costs, on: int
) -> None:
    run = simulate(program, story, costs=prices, cores=on, rcvbuf=ROOMY)
    expected = FIGURE_6_6[models.MODEL_OF[program.__name__]]
    assert run.figure_6_6().agrees(expected), run.figure_6_6()


@given(program=programs, story=stories(), prices=costs, on=cores)
def test_equal_inputs_give_equal_timelines(
    program: Any, story: traffic.Traffic, prices: Costs, on: int
) -> None:
    def once() -> Timeline:
        return simulate(program, story, costs=prices, cores=on, rcvbuf=ROOMY)

    first = once()
    assert first == once()
    assert Timeline.from_json(first.to_json()) == first


@given(story=stories(connections=1), prices=costs)
def test_a_small_buffer_drops_datagrams_and_throttles_streams(
    story: traffic.Traffic, prices: Costs
) -> None:
    room = max(message.size for message in story.messages)
    kernel = over_traffic(story, prices, rcvbuf=room)
    assert kernel.traffic is not None
    kernel.spawn("process", _receive_for(kernel.traffic.connections[0].fd, story))
    kernel.run()
    dropped = [fate for fate in kernel.traffic.fates if fate.dropped]
    lost = sum(fate.size for fate in dropped)
    taken = sum(fate.size for fate in kernel.traffic.fates if fate.received is not None)
    assert taken + lost == story.nbytes()
    assert not (dropped and story.transport == "tcp")


_SIZES = st.integers(1, 40)
_ROOM = st.integers(1, 3) | st.integers(1, 200)


@given(
    rows=st.lists(st.tuples(st.integers(0, 5_000_000), _SIZES), min_size=1, max_size=6),
    looks=st.lists(st.tuples(_SIZES, st.booleans()), min_size=1, max_size=8),
    prices=costs,
    room=_ROOM,
    on=cores,
)
def test_a_stream_s_bytes_come_in_order_once_whatever_the_buffers_are(
    rows: Any, looks: Any, prices: Costs, room: int, on: int
) -> None:
    """Down to a receive buffer of one byte, with looks ahead (MSG_PEEK) that take nothing."""
    story = traffic.replay(rows, "tcp").then("eof")
    taken: list[bytes] = []

    def reader(fd: int, nbytes: int) -> Program:
        for size, ahead in cycle(looks):
            seen = (yield recvfrom(fd, size, MSG_PEEK)) if ahead else b""
            taken.append((yield recvfrom(fd, size)))
            assert taken[-1].startswith(seen)
            assert len(taken[-1]) <= room
            if not taken[-1]:
                return

    simulate(reader, story, costs=prices, cores=on, rcvbuf=room).check()
    sent = [m.payload(number) for number, m in enumerate(story.messages, 1) if m.size]
    assert b"".join(taken) == b"".join(sent)


@given(
    work=st.lists(st.integers(1, 3_000_000), min_size=1, max_size=6),
    story=stories().map(lambda story: story.over("udp")),
    prices=st.builds(
        Costs,
        **dict.fromkeys(("syscall", "user", "step", "signal_delivery", "wakeup", "context_switch"),
                        st.integers(0, 400_000)),
        time_slice=st.integers(100_000, 2_000_000),
    ),
    on=cores,
)  # fmt: skip
def test_own_code_and_the_kernel_s_take_what_they_cost_whatever_comes_between(
    work: list[int], story: traffic.Traffic, prices: Costs, on: int
) -> None:
    """Preempted, interrupted by signals, asleep: nothing of it is lost, or counted as another's."""
    handled: list[int] = []

    def handler(signo: int) -> Program:
        handled.append(signo)
        yield compute(70_000)
        yield getpid()

    def busy(fd: int, nbytes: int) -> Program:
        yield sigaction(SIGIO, handler)
        yield fcntl(fd, F_SETOWN, SELF)
        yield fcntl(fd, F_SETFL, O_ASYNC)
        for ns in work:
            yield compute(ns)
            yield sleep(ns)

    run = simulate(busy, story, costs=prices, cores=on, rcvbuf=ROOMY).check()
    many, times = len(run.processes), len(handled)
    made = many * (3 + len(work)) + times
    computed = many * (sum(work) + len(work) * prices.step) + times * (70_000 + prices.step)
    assert len(run.calls()) == made
    assert run.time_in(USER) == computed + made * prices.user
    assert run.time_in(KERNEL) == made * prices.syscall + times * prices.signal_delivery
    notes = [i.duration for i in run.intervals if i.note]
    assert sum(notes) == times * prices.signal_delivery


_SHORT = st.integers(0, 20_000)


@given(
    signals_at=st.lists(st.integers(500_000, 3_000_000), max_size=8),
    data_at=st.lists(st.integers(500_000, 3_000_000), max_size=8),
    prices=st.builds(
        Costs, network=st.just(0), copy_per_byte=st.just(0), syscall=_SHORT, user=_SHORT,
        step=_SHORT, signal_delivery=_SHORT, completion=_SHORT, copy_base=_SHORT, eagain=_SHORT,
        wakeup=_SHORT, context_switch=_SHORT, timer_slack=_SHORT,
    ),
    wait=st.booleans(),
)  # fmt: skip
def test_signals_and_task_work_come_at_any_moment_and_none_is_lost(
    signals_at: list[int], data_at: list[int], prices: Costs, wait: bool
) -> None:
    """On the way into a call, within it, before it sleeps, on its way out, and in a handler."""
    handled: list[int] = []
    completed: list[bytes] = []

    def handler(signo: int) -> Program:
        handled.append(signo)
        yield compute(5_000)
        yield getpid()

    def program(fds: list[int], nbytes: int) -> Program:
        yield sigaction(SIGRTMIN, handler)
        yield fcntl(fds[0], F_SETSIG, SIGRTMIN)
        yield fcntl(fds[0], F_SETOWN, SELF)
        yield fcntl(fds[0], F_SETFL, O_ASYNC)
        ring = yield io_uring_setup()
        for _ in data_at:
            yield io_uring_submit(ring, fds[1], 10)
        for _ in range(20):
            yield getpid()
            yield select([ring] if wait else [], 10_000)
            with pytest.raises(BlockingIOError):
                yield recvfrom(fds[2], 1, MSG_DONTWAIT)
        yield sleep(ms(20))
        while (data := (yield io_uring_peek_cqe(ring))) is not None:
            completed.append(data)

    rows = [(at, 1, 0) for at in signals_at] + [(at, 2, 1) for at in data_at] + [(ms(15), 3, 2)]
    timeline = simulate(program, traffic.replay(rows), costs=prices).check()
    assert len(handled) == len(signals_at)
    mine = [d for d in timeline.deliveries if d.size == 2]
    assert completed == [bytes([d.message]) * 2 for d in mine]
    assert all(d.told == "completion" for d in mine)
    assert {i.call for i in timeline.intervals if i.note} <= {None}  # be it before a sleep
    delivered = [i for i in timeline.intervals if i.note == f"signal {SIGRTMIN}"]
    assert sum(i.duration for i in delivered) == len(handled) * prices.signal_delivery


@given(
    batches=st.lists(st.lists(_SIZES, min_size=1, max_size=6), min_size=1, max_size=3),
    room=st.integers(1, 120),
)
def test_a_datagram_is_dropped_if_there_is_no_room_for_it_then_and_only_then(
    batches: list[list[int]], room: int
) -> None:
    """Nobody receives while a batch comes; then all of it is taken, and there is room again."""
    got: list[int] = []

    def program(fd: int, nbytes: int) -> Program:
        for _ in batches:
            yield sleep(ms(100))
            try:
                while True:
                    got.append(len((yield recvfrom(fd, 100, MSG_DONTWAIT))))
            except BlockingIOError:
                pass

    rows = [(ms(50 + 100 * place), size) for place, batch in enumerate(batches) for size in batch]
    timeline = simulate(program, traffic.replay(rows), costs=Costs.typical(), rcvbuf=room).check()
    kept: list[bool] = []
    for batch in batches:
        free = room
        for size in batch:
            kept.append(size <= free)
            free -= size * kept[-1]
    assert [not d.dropped for d in timeline.deliveries] == kept
    assert got == [size for (_, size), held in zip(rows, kept, strict=True) if held]


def _receive_for(fd: int, story: traffic.Traffic) -> Program:
    """Receive until nothing has come for ten seconds."""
    yield setsockopt(fd, SO_RCVTIMEO, ms(10_000))
    try:
        while True:
            yield recvfrom(fd, 65_536)
    except BlockingIOError:
        return


# -- one rule each -----------------------------------------------------------------------------


def run(program: Any, story: traffic.Traffic = ONE) -> Timeline:
    """The checked timeline of `program` at textbook costs."""
    return simulate(program, story).check()


def test_what_is_queued_before_the_call_is_had_at_once() -> None:
    def late(fd: int, nbytes: int) -> Program:
        yield compute(ms(30))
        assert (yield recvfrom(fd, 2_000)) == bytes([1]) * 1_000

    timeline = run(late)
    assert timeline.blocked(WAIT) == 0
    assert timeline.blocked(COPY) == 3_000_000
    assert timeline.switches() == (0, 0)


def test_a_datagram_that_is_too_long_is_cut_off() -> None:
    def short(fd: int, nbytes: int) -> Program:
        assert len((yield recvfrom(fd, 10))) == 10
        assert len((yield recvfrom(fd, 2_000))) == 1_000

    run(short, traffic.burst(2, size=1_000))


def test_a_stream_is_read_in_parts_and_across_messages() -> None:
    sizes = []

    def parts(fd: int, nbytes: int) -> Program:
        yield sleep(ms(30))
        for size in (600, 1_000, 1_000):
            sizes.append(len((yield recvfrom(fd, size))))

    timeline = run(parts, traffic.burst(2, size=1_000, transport="tcp"))
    assert sizes == [600, 1_000, 400]
    first, second = timeline.deliveries
    assert first.received is not None
    assert second.received is not None
    assert first.received < second.received


def test_a_later_arrival_wakes_nobody_who_waits_for_something_else() -> None:
    def then_nap(fd: int, nbytes: int) -> Program:
        yield recvfrom(fd, 2_000)
        yield sleep(ms(40))

    timeline = run(then_nap, traffic.several(2, every_ms=20))
    assert timeline.switches() == (2, 0)


def test_peek_leaves_the_data() -> None:
    def twice(fd: int, nbytes: int) -> Program:
        peeked = yield recvfrom(fd, 10, MSG_PEEK)
        taken = yield recvfrom(fd, 2_000)
        assert taken.startswith(peeked)
        assert len(peeked) == 10

    run(twice)
    run(twice, ONE.over("tcp"))


def test_a_stream_ends() -> None:
    seen: list[bytes] = []

    def until_the_end(fd: int, nbytes: int) -> Program:
        while data := (yield recvfrom(fd, 4_096)):
            seen.append(data)
        seen.append((yield recvfrom(fd, 1)))

    run(until_the_end, ONE.over("tcp").then("eof"))
    assert [len(data) for data in seen] == [1_000, 0]


def test_a_reset_is_an_error_once_and_then_the_end() -> None:
    seen: list[Any] = []

    def reset(fd: int, nbytes: int) -> Program:
        yield recvfrom(fd, 4_096)
        try:
            yield recvfrom(fd, 4_096)
        except ConnectionResetError as error:
            seen.append(error.errno)
        seen.append((yield recvfrom(fd, 4_096)))

    timeline = run(reset, ONE.over("tcp").then("reset"))
    assert len(seen) == 2
    assert seen[1] == b""
    assert [bool(errno) for _, errno in timeline.calls()] == [False, True, False]


def test_an_uncaught_errno_names_the_process_and_the_time() -> None:
    with pytest.raises(ConnectionResetError) as caught:
        simulate(models.blocking, ONE.over("tcp").then("reset", after_ms=10))
    assert caught.value.__notes__ == [
        "in process: recvfrom(fd=3, size=65536, flags=0), at 31.600 ms of virtual time"
    ]


def test_nonblocking_by_flag_and_by_call() -> None:
    def both(fd: int, nbytes: int) -> Program:
        with pytest.raises(BlockingIOError):
            yield recvfrom(fd, 10, MSG_DONTWAIT)
        yield fcntl(fd, F_SETFL, O_NONBLOCK)
        with pytest.raises(BlockingIOError):
            yield recvfrom(fd, 10)
        yield fcntl(fd, F_SETFL, 0)
        yield recvfrom(fd, 10)

    timeline = run(both)
    assert [errno for _, errno in timeline.calls()] == [EAGAIN, None, EAGAIN, None, None]


def test_a_receive_time_out() -> None:
    def impatient(fd: int, nbytes: int) -> Program:
        yield setsockopt(fd, SO_RCVTIMEO, ms(5))
        with pytest.raises(BlockingIOError):
            yield recvfrom(fd, 10)
        yield setsockopt(fd, SO_RCVTIMEO, 0)
        yield recvfrom(fd, 10)

    timeline = run(impatient)
    call = timeline.call_log[1]
    # 5 ms are two jiffies: until the tick after these, then slack, wake-up and context switch
    assert call.end == ms(12) + us(50 + 300 + 300)
    assert timeline.blocked(WAIT) > 0


@pytest.mark.parametrize("wait", [select, poll])
def test_readiness_calls_look_at_all_and_time_out(wait: Any) -> None:
    replies: list[list[int]] = []

    def watch(fds: list[int], nbytes: int) -> Program:
        replies.append((yield wait(fds, 0)))
        replies.append((yield wait(fds, ms(2))))
        replies.append((yield wait(fds)))
        replies.append((yield wait(fds)))  # level-triggered: still ready

    timeline = run(watch, traffic.replay([(ms(20), 1, 1), (ms(20), 1, 2)]))
    assert replies == [[], [], [4, 5], [4, 5]]
    assert timeline.call_log[0].end - timeline.call_log[0].start == us(500 + 3 * 200)


def test_epoll_keeps_its_list() -> None:
    replies: list[Any] = []

    def watch(fds: list[int], nbytes: int) -> Program:
        epfd = yield epoll_create()
        for fd in fds:
            yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd)
        with pytest.raises(FileExistsError):
            yield epoll_ctl(epfd, EPOLL_CTL_ADD, fds[0])
        replies.append((yield epoll_wait(epfd, timeout=0)))
        replies.append((yield epoll_wait(epfd, timeout=ms(1))))
        replies.append((yield epoll_wait(epfd)))
        replies.append((yield epoll_wait(epfd, maxevents=1)))
        yield recvfrom(fds[1], 10)
        replies.append((yield epoll_wait(epfd)))
        yield epoll_ctl(epfd, EPOLL_CTL_DEL, fds[2])
        with pytest.raises(FileNotFoundError):
            yield epoll_ctl(epfd, EPOLL_CTL_DEL, fds[2])
        replies.append((yield epoll_wait(epfd, timeout=ms(1))))

    timeline = run(watch, traffic.replay([(ms(20), 1, 1), (ms(20), 1, 2)]))
    assert replies == [[], [], [4, 5], [4], [5], []]
    errnos = [errno for call, errno in timeline.calls() if call == "epoll_ctl"]
    assert errnos == [None, None, None, EEXIST, None, ENOENT]


def test_epoll_finds_what_was_there_before() -> None:
    def late(fds: list[int], nbytes: int) -> Program:
        yield sleep(ms(30))
        epfd = yield epoll_create()
        yield epoll_ctl(epfd, EPOLL_CTL_ADD, fds[0])
        assert (yield epoll_wait(epfd)) == fds

    run(late)


def test_sigio_merges_and_real_time_signals_queue() -> None:
    story = traffic.burst(10, size=1)

    def count(signo: int, deaf: int) -> int:
        runs: list[int] = []

        def handler(number: int) -> Program:
            runs.append(number)
            yield getpid()

        def listen(fd: int, nbytes: int) -> Program:
            yield sigaction(signo, handler)
            yield fcntl(fd, F_SETSIG, signo)
            yield fcntl(fd, F_SETOWN, SELF)
            yield fcntl(fd, F_SETFL, O_ASYNC)
            yield sigprocmask(SIG_BLOCK, [signo])
            yield sleep(ms(deaf))
            yield sigprocmask(SIG_UNBLOCK, [signo])
            yield compute(ms(20))

        run(listen, story)
        return len(runs)

    assert count(SIGIO, deaf=30) == 1
    assert count(SIGRTMIN, deaf=30) == 10


def test_a_signal_is_held_back_while_its_own_handler_runs() -> None:
    depth, deepest = 0, 0

    def handler(signo: int) -> Program:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        yield compute(ms(5))
        depth -= 1

    def listen(fd: int, nbytes: int) -> Program:
        yield sigaction(SIGIO, handler)
        yield fcntl(fd, F_SETOWN, SELF)
        yield fcntl(fd, F_SETFL, O_ASYNC)
        yield compute(ms(60))

    timeline = run(listen, traffic.several(3, every_ms=10).over("udp"))
    notes = [i.note for i in timeline.lane("process") if i.note]
    merged = run(listen, traffic.replay([(ms(10), 1), (ms(11), 1), (ms(12), 1)]))
    assert (deepest, len(notes)) == (1, 3)
    assert len([i for i in merged.lane("process") if i.note]) == 2


def test_what_comes_between_is_named_also_after_it_was_preempted() -> None:
    def handler(signo: int) -> Program:
        yield getpid()

    def listen(fd: int, nbytes: int) -> Program:
        yield sigaction(SIGIO, handler)
        yield fcntl(fd, F_SETOWN, SELF)
        yield fcntl(fd, F_SETFL, O_ASYNC)
        yield compute(ms(60))

    prices = Costs(signal_delivery=ms(3), time_slice=ms(1))
    timeline = simulate(listen, traffic.several(2, connections=2), costs=prices).check()
    between = [i for i in timeline.intervals if i.note]
    assert {(i.note, i.state) for i in between} == {(f"signal {SIGIO}", KERNEL)}
    assert max(i.duration for i in between) == ms(1)
    assert sum(i.duration for i in between) == 2 * ms(3)


def test_a_handler_interrupts_the_programs_own_code_at_once() -> None:
    timeline = run(models.signal_driven)
    handler = next(i for i in timeline.lane("process") if i.note == f"signal {SIGIO}")
    assert handler.start == timeline.deliveries[0].arrived == ms(21)
    assert handler.state == KERNEL
    assert handler.duration == us(500)


def test_a_handler_interrupts_a_sleep_which_then_goes_on() -> None:
    inbox: list[bytes] = []

    def nap(fd: int, nbytes: int) -> Program:
        yield sigaction(SIGIO, lambda signo: models.drain(fd, inbox))
        yield fcntl(fd, F_SETOWN, SELF)
        yield fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)
        yield sleep(ms(40))

    timeline = run(nap)
    slept = next(c for c in timeline.call_log if c.name == "sleep")
    assert len(inbox) == 1
    assert slept.end - slept.start >= ms(40)
    assert [c for c, _ in timeline.calls()][-3:] == ["sleep", "recvfrom", "recvfrom"]


def test_pause_returns_after_the_handler() -> None:
    def wait(fd: int, nbytes: int) -> Program:
        yield sigaction(SIGIO, lambda signo: models.drain(fd, []))
        yield fcntl(fd, F_SETOWN, SELF)
        yield fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)
        yield pause()

    timeline = run(wait)
    assert timeline.deliveries[0].told == "signal"


def test_sigtimedwait_times_out() -> None:
    def wait(fd: int, nbytes: int) -> Program:
        yield sigprocmask(SIG_BLOCK, [SIGRTMIN])
        with pytest.raises(BlockingIOError):
            yield sigtimedwait([SIGRTMIN], ms(1))

    timeline = run(wait)
    assert timeline.calls()[-1] == ("sigtimedwait", EAGAIN)


def test_a_signal_without_a_handler_ends_the_process() -> None:
    def careless(fd: int, nbytes: int) -> Program:
        yield fcntl(fd, F_SETOWN, SELF)
        yield fcntl(fd, F_SETFL, O_ASYNC)
        yield compute(ms(50))

    with pytest.raises(RuntimeError, match=f"signal {SIGIO} ends process: it has no handler"):
        run(careless)


def test_io_uring_copies_in_no_call_on_the_submitters_core() -> None:
    timeline = run(models.asynchronous)
    copy = next(i for i in timeline.intervals if i.state == COPY)
    work = next(i for i in timeline.lane("process") if i.note == "task work")
    assert copy.call is None
    assert work.call is None
    assert (work.start, work.end, work.state) == (copy.start, copy.end, KERNEL)
    assert timeline.cpu_ns() == timeline.end  # it never slept


def test_io_uring_waited_for_copies_within_the_wait() -> None:
    def wait(fd: int, nbytes: int) -> Program:
        ring = yield io_uring_setup()
        yield io_uring_submit(ring, fd, 4_096)
        assert len((yield io_uring_enter(ring))) == 1_000

    timeline = run(wait)
    row = timeline.figure_6_6()
    assert (row.wait, row.copy, row.told) == ("blocked", "blocked", "completion")


def test_io_uring_does_at_once_what_is_there() -> None:
    def late(fd: int, nbytes: int) -> Program:
        yield compute(ms(30))
        ring = yield io_uring_setup()
        yield io_uring_submit(ring, fd, 4_096)
        assert len((yield io_uring_peek_cqe(ring))) == 1_000
        assert (yield io_uring_peek_cqe(ring)) is None

    timeline = run(late)
    copy = next(i for i in timeline.intervals if i.state == COPY)
    assert copy.call is not None
    assert copy.call.name == "io_uring_submit"
    assert timeline.figure_6_6().copy is None


def test_io_uring_completes_with_an_errno() -> None:
    def look(fd: int, nbytes: int) -> Program:
        ring = yield io_uring_setup()
        yield io_uring_submit(ring, fd, 4_096)
        yield compute(ms(40))
        with pytest.raises(ConnectionResetError):
            yield io_uring_peek_cqe(ring)

    def wait(fd: int, nbytes: int) -> Program:
        ring = yield io_uring_setup()
        yield io_uring_submit(ring, fd, 4_096)
        with pytest.raises(ConnectionResetError):
            yield io_uring_enter(ring)

    reset = traffic.Traffic((traffic.Message(ms(20), 0, 0, "reset"),), "tcp")
    run(look, reset)
    run(wait, reset)


def test_aio_reads_in_a_helper_thread() -> None:
    timeline = run(models.asynchronous_aio)
    assert timeline.helpers == ("aio helper",)
    assert ("read", None) in timeline.calls("aio helper")
    assert "read" not in [name for name, _ in timeline.calls()]
    copy = next(i for i in timeline.intervals if i.state == COPY)
    assert copy.call is not None
    assert copy.call.process == "aio helper"


def test_aio_reuses_its_idle_helper_and_adds_one_for_two_at_once() -> None:
    three = traffic.several(3, connections=1)
    assert simulate(models.asynchronous_aio, three).helpers == ("aio helper",)

    def both(fds: list[int], nbytes: int) -> Program:
        blocks = []
        for fd in fds:
            blocks.append((yield aio_read(fd, 10)))
            yield compute(ms(1))
        yield compute(ms(60))
        for block in blocks:
            assert (yield aio_error(block)) == 0
            assert len((yield aio_return(block))) == 10

    timeline = simulate(both, traffic.burst(2, size=10, connections=2), cores=2).check()
    assert timeline.helpers == ("aio helper", "aio helper 2")


def test_aio_tells_by_signal_and_of_errors() -> None:
    told: list[int] = []

    def listen(fd: int, nbytes: int) -> Program:
        def handler(signo: int) -> Program:
            told.append(signo)
            yield getpid()

        yield sigaction(SIGRTMIN, handler)
        block = yield aio_read(fd, 10, SIGRTMIN)
        yield compute(ms(40))
        assert (yield aio_error(block)) != 0
        with pytest.raises(ConnectionResetError):
            yield aio_return(block)

    run(listen, traffic.Traffic((traffic.Message(ms(20), 0, 0, "reset"),), "tcp"))
    assert told == [SIGRTMIN]


def test_processes_share_the_cores_by_time_slices() -> None:
    def busy(fd: int, nbytes: int) -> Program:
        yield compute(ms(10))

    story = traffic.several(3, every_ms=1, connections=3)
    one, two = (simulate(busy, story, cores=n).check() for n in (1, 2))
    assert one.time_in(USER) == two.time_in(USER) == ms(30)
    assert one.end > two.end
    assert one.time_in(READY) > two.time_in(READY) > 0
    assert one.switches()[1] > 0
    assert one.switches()[0] == 0
    slices = [i.duration for i in one.intervals if i.state == USER]
    assert max(slices) == Costs.textbook().time_slice


def told(timeline: Timeline, lane: str) -> list[tuple[str, float, str]]:
    """Each state of a lane, until when (ms), and in which call."""
    return [(i.state, i.end / 1e6, i.call.name if i.call else i.note) for i in timeline.lane(lane)]


def test_two_processes_on_one_core_to_the_nanosecond() -> None:
    """A slice of 3 ms, 0.3 ms to switch; whoever waits for the core waits in the state it had."""

    def busy(fd: int, nbytes: int) -> Program:
        yield compute(ms(4))
        yield getpid()

    timeline = run(busy, traffic.several(2, connections=2))
    assert told(timeline, "process 1") == [
        (USER, 3, ""), (READY, 6.6, ""), (USER, 7.8, ""), (KERNEL, 8.3, "getpid"),
    ]  # fmt: skip
    assert told(timeline, "process 2") == [
        (READY, 3.3, ""), (USER, 6.3, ""), (READY, 8.6, ""), (USER, 9.8, ""),
        (KERNEL, 10.3, "getpid"),
    ]  # fmt: skip


def test_a_handler_in_the_middle_of_own_code_to_the_nanosecond() -> None:
    """The handler's time is its own, its call too; what is left of the program's code follows."""

    def handler(signo: int) -> Program:
        yield compute(ms(1))
        yield getpid()

    def listen(fd: int, nbytes: int) -> Program:
        yield sigaction(SIGIO, handler)
        yield fcntl(fd, F_SETOWN, SELF)
        yield fcntl(fd, F_SETFL, O_ASYNC)
        yield compute(ms(25))

    timeline = run(listen)
    assert told(timeline, "process")[6:] == [
        (USER, 21, ""), (KERNEL, 21.5, f"signal {SIGIO}"), (USER, 22.7, ""),
        (KERNEL, 23.2, "getpid"), (USER, 29.3, ""),
    ]  # fmt: skip
    assert timeline.time_in(USER) == ms(25) + ms(1) + 4 * us(200)


def test_a_lone_process_is_never_preempted() -> None:
    def busy(fd: int, nbytes: int) -> Program:
        yield compute(ms(100))

    assert simulate(busy, ONE).switches() == (0, 0)


def test_the_timer_is_late_by_its_slack() -> None:
    def nap(fd: int, nbytes: int) -> Program:
        yield sleep(ms(5))

    timeline = simulate(nap, ONE)
    asleep = next(i for i in timeline.intervals if i.state == SLEEPING)
    assert asleep.duration == ms(5) + us(50) + us(300)  # slack, then the wake-up


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_of", "errno"),
    [
        (lambda fd: recvfrom(99, 10), EBADF),
        (lambda fd: select([99]), EBADF),
        (lambda fd: fcntl(99, F_SETFL, 0), EBADF),
        (lambda fd: setsockopt(99, SO_RCVTIMEO, 1), EBADF),
        (lambda fd: epoll_ctl(99, EPOLL_CTL_ADD, fd), EBADF),
        (lambda fd: epoll_wait(fd), EINVAL),
        (lambda fd: io_uring_submit(99, fd, 10), EBADF),
        (lambda fd: io_uring_enter(99), EBADF),
    ],
)
def test_a_wrong_descriptor_is_an_errno(request_of: Any, errno: int) -> None:
    def wrong(fd: int, nbytes: int) -> Program:
        with pytest.raises(OSError) as caught:
            yield request_of(fd)
        assert caught.value.errno == errno

    run(wrong)


def test_poll_tells_of_a_wrong_descriptor() -> None:
    def asks(fd: int, nbytes: int) -> Program:
        [ready] = yield poll([99], ms(5))
        assert ready == 99
        assert ready.events == POLLNVAL

    run(asks)


def test_a_wrong_ring_or_block_is_an_error() -> None:
    def ring(fd: int, nbytes: int) -> Program:
        yield io_uring_peek_cqe(99)

    def block(fd: int, nbytes: int) -> Program:
        yield aio_error(7)

    def early(fd: int, nbytes: int) -> Program:
        number = yield aio_read(fd, 10)
        yield aio_return(number)

    with pytest.raises(OSError, match=os.strerror(EBADF)):
        run(ring)
    with pytest.raises(OSError, match=os.strerror(EINVAL)):
        run(block)
    with pytest.raises(OSError, match=os.strerror(EINPROGRESS)):
        run(early)


def test_to_wait_for_ever_is_a_time_out() -> None:
    def greedy(fd: int, nbytes: int) -> Program:
        yield recvfrom(fd, 10)
        yield recvfrom(fd, 10)

    with pytest.raises(TimeoutError, match="process would wait in recvfrom for ever: nothing more"):
        run(greedy)


def test_no_time_passing_is_a_time_out() -> None:
    free = Costs(**{name: 0 for name in Costs.names() if name != "time_slice"})

    def spin(fd: int, nbytes: int) -> Program:
        while True:
            yield getpid()

    # not after 10 s: 100,000 events at one instant take longer under a tracer on a busy machine
    with pytest.raises(TimeoutError, match="no time passes"):
        simulate(spin, ONE, costs=free, limit_s=60)


@pytest.mark.parametrize("away_s", [1, 30])
@pytest.mark.parametrize("where", ["here", "in another thread"])
def test_a_run_is_stopped_for_its_work_not_for_being_kept_from_it(
    away_s: float, where: str
) -> None:
    """As on a busy machine; but not for ever: a program may sleep for real, and never wake up."""

    def away(fd: int, nbytes: int) -> Program:
        until = time.monotonic() + away_s
        while time.monotonic() < until:
            time.sleep(0.01)
        yield getpid()

    def run() -> str:
        try:
            simulate(away, ONE, limit_s=0.2)
        except TimeoutError as error:
            return str(error)
        return "over"

    with ThreadPoolExecutor() as other:
        said = run() if where == "here" else other.submit(run).result()
    over = "away on the simulated kernel was not over after 0.2 s"
    assert said == ("over" if away_s == 1 else over)


@pytest.mark.parametrize(
    ("arguments", "error", "line"),
    [
        ({"cores": 0}, ValueError, "cores must be from 1 to 1,024 cores, got 0"),
        ({"cores": 1.5}, TypeError, "cores must be a whole number of cores, got 1.5"),
        ({"rcvbuf": 0}, ValueError, "rcvbuf must be from 1 to 1,073,741,824 bytes, got 0"),
        ({"costs": 3}, TypeError, "costs must be Costs, got 3"),
    ],
)
def test_bad_arguments_get_one_line(arguments: Any, error: type, line: str) -> None:
    with pytest.raises(error) as caught:
        simulate(models.blocking, ONE, **arguments)
    assert str(caught.value) == line


@given(st.integers(1, 40))
def test_events_are_counted_with_and_without_a_record(count: int) -> None:
    story = traffic.several(count, every_ms=1, size=10)
    kernels = [over_traffic(story, record=record) for record in (True, False)]
    for kernel in kernels:
        assert kernel.traffic is not None
        kernel.spawn("process", models.blocking(kernel.traffic.connections[0].fd, story.nbytes()))
        kernel.run()
    assert kernels[0].events == kernels[1].events
    assert kernels[0].now == kernels[1].now


# -- one kernel: every call, over any story ----------------------------------------------------


def test_every_call_has_an_answer() -> None:
    """A call that is in no table is found here, not by a reader."""
    named = [getattr(home, name) for home in (calls, futures) for name in home.__all__]
    kinds = [one for one in named if isinstance(one, type) and issubclass(one, Request)]
    assert len(kinds) > 40
    for kind in set(kinds) - {Request, compute}:  # which is the program's own code
        assert callable(SIDES[kind])


class unheard_of(Request):
    """A call that nobody answers."""

    role: ClassVar[str] = PREPARES


def test_a_call_without_a_role_is_no_class() -> None:
    with pytest.raises(TypeError, match=r"^vague: a call needs a role: prepares, asks, is told"):

        class vague(Request):
            """It does not say what it has to do with the two phases."""


def test_a_call_without_an_answer_is_refused_in_one_line() -> None:
    def program(fd: int, nbytes: int) -> Program:
        yield unheard_of()

    with pytest.raises(RuntimeError, match=r"^the simulated kernel has no call unheard_of$"):
        simulate(program, ONE)


def test_what_does_not_go_with_a_story_is_refused_in_one_line() -> None:
    def sends(fd: int, nbytes: int) -> Program:
        yield calls.send(fd, b"x")

    def asks(fd: int, nbytes: int) -> Program:
        yield futures.submit(1)

    with pytest.raises(RuntimeError, match=r"^send: to a connection of Traffic one only listens"):
        simulate(sends, ONE)
    with pytest.raises(RuntimeError, match=r"^submit needs a story of Jobs$"):
        simulate(asks, ONE)


def test_a_program_over_traffic_may_have_threads_and_connections_of_its_own() -> None:
    got: list[bytes] = []

    def echo(listener: int) -> Program:
        conn = yield calls.accept(listener)
        got.append((yield recvfrom(conn, 10)))

    def program(fd: int, nbytes: int) -> Program:
        listener, end = (yield calls.socket()), (yield calls.socket())
        yield calls.listen(listener)
        thread = yield calls.pthread_create(echo(listener))
        yield calls.connect(end, (yield calls.getsockname(listener)))
        yield calls.send(end, (yield recvfrom(fd, 10)))
        yield calls.pthread_join(thread)

    simulate(program, traffic.one(size=10)).check()
    assert got == [b"\x01" * 10]


# -- signals that come at a bad moment ---------------------------------------------------------


def test_a_signal_during_the_scan_of_select_is_not_lost() -> None:
    """Linux looks for signals before it sleeps: the handler runs then, not at the next arrival."""

    def handler(signo: int) -> Program:
        yield getpid()

    def program(fds: list[int], nbytes: int) -> Program:
        yield sigaction(SIGIO, handler)
        yield fcntl(fds[0], F_SETOWN, SELF)
        yield fcntl(fds[0], F_SETFL, O_ASYNC)
        yield select([fds[1]])

    # The scan is from 2.8 to 3 ms; a message is 1 ms on its way.
    run = simulate(program, traffic.replay([(us(1_900), 10, 0), (ms(20), 10, 1)]))
    (looked,) = (call for call in run.call_log if call.name == "getpid")
    (waited,) = (call for call in run.call_log if call.name == "select")
    assert waited.start < looked.start < ms(10) < waited.end


def test_a_signal_that_is_held_back_wakes_nobody() -> None:
    """It stays pending; who sleeps, sleeps on (signal(7))."""

    def program(fd: int, nbytes: int) -> Program:
        yield sigprocmask(SIG_BLOCK, [SIGIO])
        yield fcntl(fd, F_SETOWN, SELF)
        yield fcntl(fd, F_SETFL, O_ASYNC)
        yield sleep(ms(30))
        assert (yield sigtimedwait([SIGIO], 0)) == SIGIO

    run = simulate(program, ONE)
    naps = [i for i in run.intervals if i.lane == "process" and i.state == SLEEPING]
    assert len(naps) == 1


def test_the_read_of_aio_s_helper_waits_on_both_kernels() -> None:
    """It is a blocking read: Figure 6.6 is told by such facts."""
    for run in (simulate, measure):
        calls = run(models.asynchronous_aio, ONE).call_log
        assert {call.waits for call in calls if call.name == "read"} == {True}


# -- what is no call ---------------------------------------------------------------------------


def test_what_lies_in_one_s_own_memory_is_no_call_and_takes_no_time() -> None:
    """Rings, control blocks: looked at, and written, without the kernel (io_uring(7), aio(7))."""

    def program(fds: list[int], nbytes: int) -> Program:
        ring, other = (yield io_uring_setup()), (yield io_uring_setup())
        block = yield aio_read(fds[0], 10)
        assert (yield aio_error(block)) == EINPROGRESS
        yield io_uring_submit(other, fds[2], 10)
        assert (yield io_uring_peek_cqe(other)) is None
        yield io_uring_prep_recv(ring, fds[1], 10)
        yield io_uring_submit_and_wait(ring)
        yield sleep(ms(30))
        assert (yield aio_error(block)) == 0
        yield aio_return(block)
        yield io_uring_peek_cqe(other)

    timeline = run(program, traffic.burst(3, size=10, connections=3))
    assert [name for name, _ in timeline.calls("process")] == [
        "io_uring_setup", "io_uring_setup", "aio_read", "io_uring_submit",
        "io_uring_submit_and_wait", "sleep",
    ]  # fmt: skip
    looks = [c for c in timeline.call_log if not c.trap and c.process == "process"]
    assert [c.name for c in looks] == [
        "aio_error", "io_uring_peek_cqe", "io_uring_prep_recv", "aio_error", "aio_return",
        "io_uring_peek_cqe",
    ]  # fmt: skip
    assert all(c.start == c.end for c in looks)
    assert [c.nbytes for c in looks] == [0, 0, 0, 0, 10, 10]


# -- the second time ---------------------------------------------------------------------------


def signals(fd: int, *signos: int) -> Program:
    """SIGIO, at each message, to the caller; these are held back."""
    yield sigprocmask(SIG_BLOCK, signos)
    yield fcntl(fd, F_SETOWN, SELF)
    yield fcntl(fd, F_SETFL, O_ASYNC)


def test_a_second_sigaction_takes_the_place_of_the_first_one_for_its_signal_only() -> None:
    ran: list[tuple[str, int]] = []

    def named(name: str) -> Any:
        def handler(signo: int) -> Program:
            ran.append((name, signo))
            yield getpid()

        return handler

    def program(fd: int, nbytes: int) -> Program:
        yield sigaction(SIGIO, named("first"))
        yield sigaction(SIGRTMIN, named("other"))
        yield sigaction(SIGIO, named("second"))
        yield from signals(fd)
        yield compute(ms(30))
        yield fcntl(fd, F_SETSIG, SIGRTMIN)
        yield compute(ms(30))

    run(program, traffic.several(2, every_ms=20))
    assert ran == [("second", SIGIO), ("other", SIGRTMIN)]


def test_what_is_held_back_adds_up_and_is_let_through_one_by_one() -> None:
    ran: list[int] = []
    mine, other = SIGRTMIN, SIGRTMIN + 1

    def handler(signo: int) -> Program:
        ran.append(signo)
        yield getpid()

    def program(fds: list[int], nbytes: int) -> Program:
        for fd, signo in zip(fds, (mine, other), strict=True):
            yield sigaction(signo, handler)
            yield fcntl(fd, F_SETSIG, signo)
            yield from signals(fd, signo)
        yield sleep(ms(30))
        assert ran == []
        yield sigprocmask(SIG_UNBLOCK, [other])
        assert ran == [other]
        yield sigprocmask(SIG_BLOCK, [SIGIO])
        yield sigprocmask(SIG_UNBLOCK, [SIGIO])
        assert ran == [other]
        yield sigprocmask(SIG_UNBLOCK, [mine])

    run(program, traffic.burst(2, connections=2))
    assert ran == [other, mine]


def test_while_a_handler_runs_its_own_signal_and_what_is_blocked_wait_and_others_do_not() -> None:
    """Three signals come while the first one's handler computes: sigaction(2), sigprocmask(2)."""
    steps: list[str] = []
    names = {SIGIO: "own", SIGRTMIN: "other", SIGRTMIN + 1: "blocked"}

    def handler(signo: int) -> Program:
        steps.append(f"{names[signo]} begins")
        yield compute(ms(40))
        steps.append(f"{names[signo]} ends")

    def program(fds: list[int], nbytes: int) -> Program:
        for fd, signo in zip(fds, names, strict=True):
            yield sigaction(signo, handler)
            yield fcntl(fd, F_SETSIG, signo)
            yield from signals(fd, *([signo] if names[signo] == "blocked" else []))
        yield compute(ms(40))
        steps.append("program")
        yield sigprocmask(SIG_UNBLOCK, [SIGRTMIN + 1])

    story = [(20, 0), (22, 0), (24, 2), (26, 1), (28, 0)]
    run(program, traffic.replay([(ms(at), 1, where) for at, where in story]))
    assert steps == [
        "own begins", "other begins", "other ends", "own ends",
        "own begins", "own ends",  # once: SIGIO does not queue
        "program", "blocked begins", "blocked ends",
    ]  # fmt: skip


@pytest.mark.parametrize("wait", [False, True])
def test_completions_that_lie_there_come_out_in_their_order_once_each(wait: bool) -> None:
    got: list[bytes | None] = []

    def program(fds: list[int], nbytes: int) -> Program:
        ring = yield io_uring_setup()
        for fd in fds:
            yield io_uring_submit(ring, fd, 100)
        yield compute(ms(60))
        for _ in fds:
            got.append((yield io_uring_enter(ring) if wait else io_uring_peek_cqe(ring)))
        assert (yield io_uring_peek_cqe(ring)) is None

    timeline = run(program, traffic.replay([(ms(22), 7, 0), (ms(21), 5, 1), (ms(23), 6, 2)]))
    assert [len(data or b"") for data in got] == [5, 7, 6]
    asked = [c for c in timeline.call_log if c.nbytes]
    assert [c.nbytes for c in asked] == [5, 7, 6]
    assert [d.received for d in timeline.deliveries] == sorted(
        d.received or 0 for d in timeline.deliveries
    )
    assert {d.told for d in timeline.deliveries} == {"completion"}


def test_an_operation_that_was_handed_in_twice_takes_two_messages() -> None:
    """Both wait at one socket: the first gets the first, and the second waits on."""
    sizes: list[int] = []

    def program(fd: int, nbytes: int) -> Program:
        ring = yield io_uring_setup()
        yield io_uring_submit(ring, fd, 100)
        yield io_uring_submit(ring, fd, 100)
        for _ in range(2):
            sizes.append(len((yield io_uring_enter(ring))))

    timeline = run(program, traffic.replay([(ms(20), 5), (ms(40), 6)]))
    assert sizes == [5, 6]
    assert [d.received for d in timeline.deliveries] == sorted(
        d.received or 0 for d in timeline.deliveries
    )


def test_who_is_woken_for_another_thing_looks_again_and_sleeps_on() -> None:
    """poll for room only is woken by what comes in, finds nothing, and its time-out stays."""

    def program(fds: list[int], nbytes: int) -> Program:
        assert (yield poll({fds[0]: 0}, ms(50))) == []
        assert (yield recvfrom(fds[0], 10)) == bytes([1] * 10)

    timeline = run(program, traffic.several(3, every_ms=10, size=10))
    polled = timeline.call_log[0]
    looks = [i for i in timeline.lane("process") if i.call is polled and i.state == KERNEL]
    assert len(looks) == 1 + 3 + 1  # at first, for each message, and at the end
    assert polled.start + ms(50) <= polled.end < polled.start + ms(53)


@pytest.mark.parametrize("at_us", range(20_000, 27_000, 90))
def test_a_signal_is_delivered_at_once_to_own_code_and_else_when_the_kernel_is_left(
    at_us: int,
) -> None:
    """At any instant of calls, of a receive's copy, of task work: the handler is next."""

    def handler(signo: int) -> Program:
        yield getpid()

    def program(fds: list[int], nbytes: int) -> Program:
        yield sigaction(SIGIO, handler)
        yield fcntl(fds[0], F_SETOWN, SELF)
        yield fcntl(fds[0], F_SETFL, O_ASYNC)
        ring = yield io_uring_setup()
        yield io_uring_submit(ring, fds[1], 1_000)
        yield compute(ms(20))
        yield recvfrom(fds[2], 1_000)
        yield compute(ms(1))
        yield sigprocmask(SIG_BLOCK, [])
        yield compute(ms(9))

    others = [(ms(22), 1_000, 1), (ms(1), 500, 2)]
    timeline = run(program, traffic.replay([(us(at_us), 1, 0), *others]))
    arrived = timeline.deliveries[[d.connection for d in timeline.deliveries].index(0)].arrived
    assert arrived is not None
    [begun] = [i.start for i in timeline.intervals if i.note == f"signal {SIGIO}"]
    lane = timeline.lane("process")
    before = [i for i in lane if i.start < arrived and i.end <= begun][-1]
    assert before.end == begun
    if before.state == USER:
        assert begun == arrived
    elif arrived < begun:  # in the kernel: nothing but that was done meanwhile
        assert {i.state for i in lane if arrived < i.end <= begun} == {KERNEL}


def test_a_signal_that_comes_with_another_one_s_delivery_is_handled_before_its_handler_calls() -> (
    None
):
    def program(fds: list[int], nbytes: int) -> Program:
        yield sigaction(SIGIO, lambda signo: (yield getpid()))
        yield sigaction(SIGRTMIN, lambda signo: (yield sigprocmask(SIG_BLOCK, [])))
        yield fcntl(fds[1], F_SETSIG, SIGRTMIN)
        for fd in fds:
            yield fcntl(fd, F_SETOWN, SELF)
            yield fcntl(fd, F_SETFL, O_ASYNC)
        yield compute(ms(30))

    timeline = run(program, traffic.replay([(ms(20), 1, 0), (ms(20.2), 1, 1)]))
    assert [name for name, _ in timeline.calls()][-2:] == ["sigprocmask", "getpid"]
    notes = [(i.start, i.note) for i in timeline.lane("process") if i.note]
    assert notes == [(ms(21), f"signal {SIGIO}"), (ms(21.7), f"signal {SIGRTMIN}")]


def test_an_operation_that_is_told_of_something_else_waits_on() -> None:
    """Room to send is no data: its receive is done when the answer comes."""

    def server(listener: int, clients: int) -> Program:
        conn, ring = (yield calls.accept(listener)), (yield io_uring_setup())
        yield io_uring_submit(ring, conn, 100)
        yield calls.send(conn, bytes(400_000))
        assert len((yield io_uring_enter(ring))) == 9

    script = clients.script((clients.RECEIVE, 400_000), (clients.SEND, 9))
    simulate(server, clients.of(script)).check()


# -- what a receive costs the reader's own machine ---------------------------------------------


def test_a_receive_makes_no_more_bytes_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each receive made the whole message anew: 32 MB in pieces took 25 s."""
    made: list[int] = []
    as_it_is = traffic.Message.payload

    def counted(self: traffic.Message, *given: Any) -> bytes:
        made.append(len(data := as_it_is(self, *given)))
        return data

    monkeypatch.setattr(traffic.Message, "payload", counted)
    size = 4_000_000
    simulate(models.blocking, traffic.one(size=size, transport="tcp"), costs=Costs.typical())
    assert sum(made) == size
