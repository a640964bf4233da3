"""ServerExplorer without a browser: every choice keeps the invariants, and bounds what travels.

What a client meets with is told by the run; nothing here measures time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("anywidget", reason="the explorers need anywidget, which is not installed")

from explorers import ends_of, states_of, travelling, walked, walks_of

from iosim import clients, draw, models, servers, simulate, traffic
from iosim.calls import Program, accept, close, ms, sleep
from iosim.explore import ServerExplorer
from iosim.explore.controls import State, complete, read, write
from iosim.explore.playback import MOST_LANES, crowd, moments, tracks
from iosim.explore.server import (
    ARGUMENTS,
    LANES,
    LATE_MS,
    MATTERS,
    MUCH,
    NAMES,
    TAKES,
    by_client,
    run_of,
    shown_of,
    story_of,
)
from iosim.shown import picture
from iosim.trace import NETWORK, PROCESS_STATES, WAIT, Timeline

CONTROLS = ServerExplorer.CONTROLS
EVERYTHING = ServerExplorer.controls()
HEAVIEST = 600_000  # bytes of JSON for one picture, with all that moves over it
MOST_INTERVALS = 3_000


def state(**chosen: Any) -> State:
    return complete(CONTROLS, chosen)


def numbers(**chosen: Any) -> dict[str, str]:
    """The numbers that a state shows."""
    return {number.name: number.value for number in ServerExplorer.view(state(**chosen)).numbers}


def check(chosen: State) -> Timeline:
    """A view is pure, keeps the invariants and travels; its rails lie where the run does."""
    view = ServerExplorer.view(chosen)
    assert view == ServerExplorer.view(chosen)
    assert view.run is not None
    run = view.run.check()
    assert all(visit.over is not None and not visit.end for visit in run.visits)
    assert not any(visit.garbled for visit in run.visits)
    assert len(run.intervals) <= MOST_INTERVALS
    packed = json.dumps(view.plain())
    assert json.loads(packed) == view.plain()
    assert len(packed) <= HEAVIEST
    times = [moment.at for moment in view.moments]
    assert times == sorted(set(times))
    assert (times[0], times[-1]) == (run.start, run.end)
    check_tracks(run, dict(view.program))
    visible = ServerExplorer.visible(chosen)
    assert len(set(visible)) == len(visible)
    assert set(visible) <= {control.name for control in CONTROLS}
    return run


def check_tracks(run: Timeline, text: dict[int, str]) -> None:
    lanes: dict[str, list[Any]] = {}
    for i in run.intervals:
        if i.end > i.start:
            lanes.setdefault(i.lane, []).append(i)
    for track in tracks(run):
        starts = [row[0] for row in track.rows]
        assert starts == sorted(starts)
        if track.kind != "buffer":
            lane = lanes[track.name]
            before = [] if lane[0].start == run.start else [run.start]
            assert starts == [*before, *(i.start for i in lane), lane[-1].end]
        for line in {row[3] for row in track.rows} - {None}:
            assert "yield" in text[line]


# --- every control --------------------------------------------------------------------------------


@pytest.mark.parametrize("server", NAMES)
def test_each_control_at_its_ends(server: str) -> None:
    for control in CONTROLS:
        if control.name in {*ServerExplorer.visible(state(server=server))} - {"server"}:
            for end in ends_of(control):
                check({**state(server=server), control.name: end})


@pytest.mark.parametrize("server", NAMES)
def test_many_clients_with_many_messages(server: str) -> None:
    for costs, within, pause in (("textbook", 0.0, 0.0), ("typical", 50.0, 10.0)):
        check(state(server=server, clients=50, messages=5, costs=costs, within_ms=within,
                    pause_ms=pause))  # fmt: skip


@pytest.mark.parametrize("server", NAMES)
def test_a_slow_client_at_the_ends_of_all_others(server: str) -> None:
    for many in (1, 50):
        for size, cores, workers in ((1, 4, 8), (10_000, 1, 1)):
            check(state(server=server, slow=True, clients=many, size=size, cores=cores,
                        workers=workers, handler_ms=20))  # fmt: skip


@settings(max_examples=15)
@given(states_of(CONTROLS))
def test_any_choice_keeps_the_invariants(chosen: State) -> None:
    check(chosen)


@settings(max_examples=10)
@given(walks_of(CONTROLS))
def test_a_walk_over_the_controls(walk: list[tuple[str, Any]]) -> None:
    walked(ServerExplorer, walk)


@given(states_of(EVERYTHING))
def test_a_state_is_its_text(chosen: State) -> None:
    assert read(EVERYTHING, write(EVERYTHING, chosen)) == chosen


def test_all_servers_of_the_course_can_be_chosen() -> None:
    assert list(NAMES) == list(servers.SERVERS)
    assert {*MATTERS} == {*TAKES} == {*NAMES}


def test_each_argument_reaches_the_program() -> None:
    assert TAKES["reactor_pool"] == ("workers", "handler_ms")
    assert TAKES["iterative"] == ()
    for server, names in TAKES.items():
        for name in names:
            low, high = ends_of(ARGUMENTS[name][0])
            assert name in ServerExplorer.visible(state(server=server))
            assert run_of(state(server=server, **{name: low})) != run_of(
                state(server=server, **{name: high})
            )
    assert not {*ARGUMENTS} & {*ServerExplorer.visible(state(server="iterative"))}


def test_a_handler_that_blocks_holds_up_one_thread() -> None:
    def worst(server: str) -> float:
        chosen = {"server": server, "handler_ms": 20.0, "costs": "typical", "within_ms": 0.0}
        return float(numbers(**chosen, clients=4)["latency, worst"].split()[0])

    assert worst("reactor_epoll") > 75 > 30 > worst("reactor_pool")
    assert worst("thread_per_connection") < 30


@pytest.mark.parametrize("server", NAMES)
def test_each_price_that_matters_changes_the_run(server: str) -> None:
    for price in ("syscall", "copy", *MATTERS[server]):
        chosen = {"server": server, "costs": "typical"}
        assert price in ServerExplorer.visible(state(**chosen))
        assert run_of(state(**chosen)) != run_of(state(**chosen, **{price: 8.0})), price


@pytest.mark.parametrize(
    "control", ["clients", "messages", "size", "pause_ms", "within_ms", "slow", "costs"]
)
def test_each_other_control_changes_the_run(control: str) -> None:
    first, *_, last = ends_of(next(c for c in CONTROLS if c.name == control))
    assert run_of(state(**{control: first})) != run_of(state(**{control: last}))


def test_cores_matter_to_threads() -> None:
    one, four = (run_of(state(server="thread_per_connection", cores=n)) for n in (1, 4))
    assert four.end < one.end


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("server=apache", "server must be one of iterative, thread_per_connection,"),
        ("clients=0", "clients must be from 1 to 50 clients, got 0"),
        ("clients=51", "clients must be from 1 to 50 clients, got 51"),
        ("messages=1.5", "messages must be a whole number of messages, got 1.5"),
        ("size=1e9", "size must be from 1 to 10,000 bytes, got 1"),
        ("pause_ms=-1", "pause_ms must be from 0.0 to 10.0 ms, got -1"),
        ("within_ms=nan", "within_ms must be from 0.0 to 50.0 ms, got nan"),
        ("slow=very", "slow must be on or off, got 'very'"),
        ("signal=2", "there is no 'signal' to choose"),
    ],
)
def test_bad_input_is_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        ServerExplorer(text)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


# --- how much is shown ----------------------------------------------------------------------------


def test_what_is_asked_for_is_shown_or_it_is_said_how_much() -> None:
    few = state(clients=12, messages=5)
    assert shown_of(few) == (12, 5)
    assert not [hint for hint in ServerExplorer.view(few).hints if hint.startswith("Shown")]
    many = state(clients=50, messages=5)
    assert shown_of(many) == (50, 1)
    run = run_of(many)
    assert (len(run.visits), len(run.deliveries)) == (50, 50)
    (hint,) = (hint for hint in ServerExplorer.view(many).hints if hint.startswith("Shown"))
    assert hint.startswith("Shown with 50 clients and 1 message each")


def test_who_asks_all_for_each_message_is_shown_with_fewer() -> None:
    many, each = shown_of(state(server="signal_driven", clients=50))
    assert each == 1
    assert 20 <= many < 50
    assert shown_of(state(server="nonblocking_sweep", clients=50))[0] < 50


@pytest.mark.parametrize("joined", [False, True])
def test_the_answers_are_marked_under_the_client_s_lane(joined: bool) -> None:
    run = run_of(state(clients=3, messages=2))
    times = [at for visit in run.visits for at in visit.answered]
    assert len(times) == 6
    svg = draw.svg(run, joined=joined)
    number = r'data-{}="([\d.]+)"'.format
    x0, x1, t1 = (float(re.search(number(name), svg)[1]) for name in ("x0", "x1", "t1"))
    *drawn, _ = re.findall(r"M([\d.]+) [\d.]+l-3 5h6z", svg)  # the last one is the legend's
    expected = [x0 + at * (x1 - x0) / t1 for at in times]
    assert [float(x) for x in drawn] == pytest.approx(expected, abs=0.1)
    assert "the client has an answer" in svg
    assert "has an answer" not in draw.svg(simulate(models.blocking, traffic.one()))


def test_lanes_that_are_left_out_are_counted() -> None:
    threads = state(server="thread_per_connection", clients=20, messages=1)
    view = ServerExplorer.view(threads)
    assert view.run is not None
    left = (21 - LANES) + (20 - LANES)
    assert f"not drawn, for want of room: {left} more lanes" in view.svg
    assert (
        view.tracks[-1].rows[0][2] == f"and {(21 + 20) - 2 * MOST_LANES} more lanes, not told here"
    )
    few = ServerExplorer.view(state())
    assert "not drawn" not in few.svg
    assert all("not told" not in track.rows[0][2] for track in few.tracks)


@pytest.mark.parametrize("lanes", [0, 1_001])
def test_a_bound_on_lanes_has_bounds(lanes: int) -> None:
    with pytest.raises(ValueError, match=f"lanes must be from 1 to 1,000 lanes, got {lanes:,}"):
        draw.svg(run_of(state()), lanes=lanes)


def test_a_bound_that_is_not_reached_changes_nothing() -> None:
    run = run_of(state())
    assert draw.svg(run, lanes=LANES) == draw.svg(run)


# --- a lane for each client -----------------------------------------------------------------------


@pytest.mark.parametrize("server", NAMES)
def test_a_client_has_one_lane_and_nothing_else_is_changed(server: str) -> None:
    chosen = state(server=server, clients=4, messages=3)
    plain = simulate(servers.SERVERS[server], story_of(chosen))
    run = by_client(plain)
    own = [lane for lane in run.lanes if lane not in (*run.processes, NETWORK)]
    assert own == [f"client {n}" for n in (1, 2, 3, 4)]
    assert run.blocked(WAIT) == plain.blocked(WAIT)
    assert run.figure_6_6() == plain.figure_6_6()
    kept = (*PROCESS_STATES, "transit", "copy", "queued")
    moved = [(i.start, i.end, i.state, i.message) for i in run.intervals if i.state in kept]
    assert moved == [
        (i.start, i.end, i.state, i.message) for i in plain.intervals if i.state in kept
    ]
    assert run.call_log == plain.call_log


# --- what the run tells ---------------------------------------------------------------------------


def events(run: Timeline) -> list[str]:
    return [words for moment in moments(run) for words in moment.words]


def before(words: Sequence[str], first: str, second: str) -> bool:
    return words.index(first) < words.index(second)


def test_the_log_tells_what_the_clients_meet_with() -> None:
    told = events(run_of(state(clients=2, messages=2)))
    for number in (1, 2):
        client = f"client {number}"
        path = ["connects", "is connected", "has answer 1", "has answer 2", "has closed"]
        places = [told.index(f"{client} {words}") for words in path]
        assert places == sorted(places)
    assert "message 3 of client 2 (1,000 bytes) is in the kernel: data ready" in told


def test_where_there_are_several_threads_each_return_says_whose() -> None:
    told = events(run_of(state(server="thread_per_connection")))
    assert "thread 2: recvfrom returns 1,000 bytes" in told
    assert "recvfrom returns 1,000 bytes" in events(run_of(state(server="reactor_epoll")))


def test_a_client_that_met_an_error_says_so() -> None:
    story = clients.of(clients.script((clients.SEND, 10), (clients.RECEIVE, 99)))
    run = simulate(deaf, story)
    assert "client 1 has closed: eof" in events(run)


def deaf(listener: int, clients: int) -> Program:
    """A server that closes at once, and stays a little longer."""
    conn = yield accept(listener)
    yield close(conn)
    yield sleep(ms(5))


@pytest.mark.parametrize("costs", ["textbook", "typical"])
def test_the_track_of_the_clients_counts_who_is_there_and_who_waits(costs: str) -> None:
    (track,) = crowd(run_of(state(clients=5, costs=costs)))
    said = [row[2] for row in track.rows]
    assert said[0] == said[-1] == "0 connected, of whom 0 want an answer"
    assert any(words.startswith("5 connected") for words in said)
    most = max(int(words.split()[-4]) for words in said)
    assert most == int(numbers(clients=5, costs=costs)["clients waiting"].split()[0])


def test_the_iterative_server_lets_the_last_client_wait_for_the_first() -> None:
    told = events(run_of(state(server="iterative")))
    assert before(told, "client 1 has closed", "client 3 has answer 1")
    told = events(run_of(state(server="reactor_epoll")))
    assert before(told, "client 3 has answer 1", "client 1 has closed")


def test_a_slow_client_holds_up_who_waits_for_it_and_nobody_else() -> None:
    alone = {name: numbers(server=name)["latency, worst"] for name in NAMES}
    for name in ("thread_per_connection", "reactor_pool", "reactor_epoll_out", "proactor"):
        told = events(run_of(state(server=name, slow=True, costs="typical")))
        assert before(told, "client 3 has closed", "client 1 has answer 1"), name
    for name in ("iterative", "nonblocking_sweep", "reactor_select", "reactor_poll",
                 "reactor_epoll", "reactor_epoll_et", "signal_driven"):  # fmt: skip
        told = events(run_of(state(server=name, slow=True, costs="typical")))
        assert before(told, "client 1 has answer 1", "client 3 has closed"), name
        held = numbers(server=name, slow=True)["latency, worst"]
        assert float(held.split()[0]) > 100 > float(alone[name].split()[0]), name


def test_the_slow_client_reads_late_and_its_own_waiting_does_not_count() -> None:
    run = run_of(state(slow=True, server="proactor", costs="typical"))
    assert run.visits[0].answered[0] >= LATE_MS * 1_000_000
    assert run.deliveries[0].size == MUCH
    assert numbers(slow=True, server="proactor", clients=1)["latency, median"] == "-"
    worst = numbers(slow=True, server="proactor", costs="typical")["latency, worst"]
    assert worst.endswith("µs")


def test_the_numbers_are_those_of_the_run() -> None:
    run = run_of(state(clients=2))
    found = numbers(clients=2)
    took = sorted(
        answered - fate.sent
        for visit in run.visits
        for fate, answered in zip(
            (f for f in run.deliveries if f.connection == visit.client), visit.answered, strict=True
        )
        if fate.sent is not None
    )
    assert found["latency, worst"] == draw.duration(took[-1])
    assert found["latency, median"] == draw.duration(round((took[1] + took[2]) / 2))
    assert found["calls"] == f"{len(run.calls())} calls"
    assert found["calls per message"] == f"{len(run.calls()) / 4:.1f}"
    assert found["CPU per message"] == draw.duration(round(run.cpu_ns() / 4))
    assert found["threads"] == "1 thread"
    assert found["the whole run"] == draw.duration(run.end)
    assert numbers(server="thread_per_connection", clients=4)["threads"] == "5 threads"


def test_only_who_asks_all_makes_calls_in_vain() -> None:
    wasted = {name: numbers(server=name)["wasted calls"] for name in NAMES}
    assert {name for name, calls in wasted.items() if calls == "0 calls"} == {
        "iterative", "thread_per_connection", "reactor_select", "reactor_poll", "reactor_epoll",
        "reactor_pool", "reactor_epoll_out", "proactor",
    }  # fmt: skip


def test_how_many_wait_at_worst() -> None:
    assert numbers(server="iterative", clients=8, within_ms=0, pause_ms=0)["clients waiting"] == (
        "8 clients"
    )
    assert numbers(server="proactor", clients=1)["clients waiting"] == "1 client"


HINTED = [
    ({"slow": True}, "Client 1 sends 24,000 bytes"),
    ({"slow": True}, "meanwhile serves nobody"),
    ({"slow": True, "server": "proactor"}, "goes on with the others"),
    ({"slow": True, "server": "reactor_pool"}, "One worker waits for room"),
    ({"handler_ms": 5}, "blocks in the handler"),
    ({"handler_ms": 5, "server": "reactor_pool"}, "a thread of its own"),
    ({"server": "iterative"}, "waits for the first to leave"),
    ({"server": "nonblocking_sweep"}, "mostly nothing"),
    ({"server": "signal_driven"}, "asks every descriptor"),
]


@pytest.mark.parametrize(("chosen", "words"), HINTED)
def test_a_sentence_says_what_there_is_to_see(chosen: dict[str, Any], words: str) -> None:
    assert any(words in hint for hint in ServerExplorer.view(state(**chosen)).hints)
    assert not ServerExplorer.view(state()).hints


@pytest.mark.parametrize("server", NAMES)
def test_the_program_beside_the_picture_is_whole(server: str) -> None:
    view = ServerExplorer.view(state(server=server))
    text = "\n".join(line for _, line in view.program)
    assert f"def {server}(" in text
    for name in servers.__all__:
        if f"yield from {name}(" in text or f"pthread_create({name}(" in text:
            assert f"def {name}(" in text


# --- predict first --------------------------------------------------------------------------------


@pytest.mark.parametrize("server", NAMES)
def test_the_run_does_not_travel_before_the_guess(server: str) -> None:
    explorer = ServerExplorer(server=server, predict=True, slow=True)
    view = travelling(explorer)
    assert explorer.shown["hidden"]
    assert not explorer.shown["verdicts"]
    assert view["program"]
    assert not any(view[part] for part in view if part != "program")
    explorer.close()


def test_the_guess_is_held_against_the_run() -> None:
    explorer = ServerExplorer(
        server="iterative", predict=True, committed=True, guess_calls=4, guess_order="before"
    )
    calls, order, worst = explorer.shown["verdicts"]
    run = explorer.shows.run
    assert run is not None
    assert calls[2] == f"{round(len(run.calls()) / len(run.deliveries))} calls"
    assert order[1:] == ["before", "after", "not so"]
    assert worst[3].startswith("too short, by ")
    explorer.close()


@settings(max_examples=10)
@given(states_of(CONTROLS))
def test_every_answer_can_be_given(chosen: State) -> None:
    run = run_of(chosen)
    calls, order, worst = (question.answer(run) for question in ServerExplorer.QUESTIONS)
    assert isinstance(calls, int)
    assert order in ("before", "after")
    assert isinstance(worst, float)
    assert worst >= 0
    assert calls >= 1


def test_the_static_form_teaches() -> None:
    data, _ = ServerExplorer(server="proactor")._repr_mimebundle_()  # type: ignore[misc]
    run = run_of(state(server="proactor"))
    assert picture(draw.svg(run)) in data["text/markdown"]
    assert data["text/plain"] == f"ServerExplorer('server=proactor')\n{run}"


@given(st.sampled_from(sorted(NAMES)))
def test_equal_states_give_equal_bytes(server: str) -> None:
    first, second = (
        json.dumps(ServerExplorer.view(state(server=server)).plain()) for _ in range(2)
    )
    assert first == second
