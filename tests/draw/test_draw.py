"""Pictures: deterministic, well-formed, legible, told apart, and said in words.

Overlap is judged from the SVG itself: each `<text>` is measured and no two boxes may meet.
"""

from __future__ import annotations

import re
import time
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legible import SVG, assert_legible, boxes

from iosim import Costs, Timeline, draw, models, shown, simulate, traffic
from iosim.calls import compute
from iosim.draw import canvas, charts, formatting
from iosim.draw.canvas import LOOKS, look_of
from iosim.draw.labels import Event, _repeated
from iosim.trace import COPY, NETWORK, QUEUED, USER, WAIT

MODELS = [getattr(models, name) for name in models.MODEL_OF]
STORIES = {
    "one": traffic.one(),
    "large": traffic.one(size=60_000),
    "three": traffic.several(3),
    "connections": traffic.several(6, 7, connections=3),
    "burst": traffic.burst(12),
    "crowd": traffic.poisson(70, 300, seed=3, connections=5),
    "stream": traffic.several(4, transport="tcp"),
}


def named(program: Any) -> str:
    return str(program.__name__)


@pytest.fixture(scope="module")
def one() -> Timeline:
    return simulate(models.blocking, traffic.one())


@pytest.fixture(scope="module")
def five() -> list[Timeline]:
    return [simulate(program, traffic.one()) for program in models.FIVE]


# -- every picture of every run ---------------------------------------------------------------


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("program", MODELS, ids=named)
def test_legible_and_deterministic(program: Any, story: str) -> None:
    runs = [simulate(program, STORIES[story], cores=2) for _ in range(2)]
    for picture in (draw.svg, draw.text, lambda run: draw.stevens(run).svg):
        first, second = (picture(run) for run in runs)
        assert first == second
    assert_legible(draw.svg(runs[0]))
    assert_legible(draw.stevens(runs[0]).svg)
    assert all(len(line) <= 88 for line in draw.text(runs[0]).splitlines())


@pytest.mark.parametrize("program", MODELS, ids=named)
def test_typical_costs_get_a_closer_look(program: Any) -> None:
    run = simulate(program, traffic.one(), costs=Costs.typical())
    svg = draw.svg(run)
    assert_legible(svg)
    if 0 < run.latency_ns() < 0.01 * run.end:
        assert "magnified" in svg
        assert svg.count("<g data-x0=") == 2


@settings(max_examples=40, deadline=None)
@given(
    program=st.sampled_from(MODELS),
    count=st.integers(1, 40),
    every=st.floats(0.01, 30),
    connections=st.integers(1, 12),
    width=st.sampled_from([320, 500, 700, 1200]),
    costs=st.sampled_from([Costs.textbook(), Costs.typical()]),
    cores=st.integers(1, 4),
)
def test_legible_whatever_comes(
    program: Any, count: int, every: float, connections: int, width: int, costs: Costs, cores: int
) -> None:
    story = traffic.several(count, every, connections=min(connections, count))
    run = simulate(program, story, costs=costs, cores=cores)
    assert_legible(draw.svg(run, width=width))
    assert_legible(draw.stevens(run, message=count).svg)
    draw.text(run)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 26_000_000), st.integers(1, 30_000_000))
def test_a_window_is_legible(start: int, length: int) -> None:
    run = simulate(models.nonblocking, traffic.several(2))
    svg = draw.svg(run, window=(start, start + length))
    assert_legible(svg)
    for part in ElementTree.fromstring(svg).iter(f"{SVG}rect"):
        if "data-lane" in part.attrib:
            assert int(part.attrib["data-start"]) < start + length
            assert int(part.attrib["data-end"]) > start


def test_a_long_run_stays_small_and_says_what_it_joined() -> None:
    quick = replace(Costs.typical(), user=1_000)
    run = simulate(models.nonblocking, traffic.one(), costs=quick, between=compute(5_000))
    assert len(run.intervals) > 5_000
    svg = draw.svg(run)
    assert_legible(svg)
    assert len(svg) < 600_000
    joined = re.findall(r'data-count="(\d+)"', svg)
    assert sum(map(int, joined)) > 1_000
    assert "calls in" in svg
    assert "×" in draw.text(run)


# -- what is in the SVG -----------------------------------------------------------------------


def test_every_interval_has_its_facts_and_tooltip(one: Timeline) -> None:
    root = ElementTree.fromstring(draw.svg(one))
    rects = [r for r in root.iter(f"{SVG}rect") if "data-lane" in r.attrib]
    facts = {
        (r.attrib["data-lane"], r.attrib["data-state"], int(r.attrib["data-start"]),
         int(r.attrib["data-end"]))
        for r in rects
    }  # fmt: skip
    assert facts == {(i.lane, i.state, i.start, i.end) for i in one.intervals}
    assert all(r.find(f"{SVG}title") is not None for r in rects)
    asleep = next(r for r in rects if r.attrib["data-state"] == "sleeping")
    call = one.call_log[0]
    assert (asleep.attrib["data-call"], asleep.attrib["data-line"]) == (
        str(call.id),
        str(call.line),
    )
    tip = asleep.findtext(f"{SVG}title") or ""
    assert "recvfrom(fd 3)" in tip
    assert "sleeping 20.6 ms" in tip
    assert f"line {call.line}" in tip
    copy = next(r for r in rects if r.attrib["data-state"] == COPY)
    assert copy.attrib["data-message"] == "1"


@pytest.mark.parametrize("name", ["nonblocking", "asynchronous", "signal_driven"])
def test_joined_bars_stand_where_the_single_ones_do(name: str) -> None:
    run = simulate(getattr(models, name), traffic.several(3))
    single, joined = (ElementTree.fromstring(draw.svg(run, joined=j)) for j in (False, True))
    fills = {f"-{state})": state for state in LOOKS} | {LOOKS[USER].fill: USER}
    bars = Counter(
        (r.attrib["data-lane"], r.attrib["data-state"], float(r.attrib["x"]), float(r.attrib["y"]))
        for r in single.iter(f"{SVG}rect") if "data-lane" in r.attrib
    )  # fmt: skip
    found: Counter[tuple[str, str, float, float]] = Counter()
    for lane in joined.iter(f"{SVG}g"):
        for path in lane.iter(f"{SVG}path") if "data-lane" in lane.attrib else ():
            state = next(s for end, s in fills.items() if path.attrib["fill"].endswith(end))
            for x, y in re.findall(r"M([\d.]+) ([\d.]+)", path.attrib["d"]):
                assert lane.attrib["data-top"] == y
                found[lane.attrib["data-lane"], state, float(x), float(y)] += 1
    assert found + Counter(bar for bar in bars.elements() if bar[0] == NETWORK) == bars
    assert_legible(draw.svg(run, joined=True))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("", []),
        ("a b c", ["a", "b", "c"]),
        ("a a a b", ["a a a", "b"]),
        ("a b a b a c", ["a b a b", "a", "c"]),
        ("x a b c a b c a", ["x", "a b c a b c", "a"]),
        ("a b c d a b c d", ["a", "b", "c", "d", "a", "b", "c", "d"]),
        ("a a b a a b", ["a a", "b", "a a", "b"]),
    ],
)
def test_calls_that_repeat_are_found(names: str, found: list[str]) -> None:
    events = [Event(at, at + 1, name) for at, name in enumerate(names.split())]
    runs = [(turn, " ".join(e.name for e in run)) for turn, run in _repeated(events)]
    assert [run for _, run in runs] == found
    assert all(len(run.split()) % turn == 0 for turn, run in runs)


def test_a_poll_between_two_messages_has_one_label() -> None:
    """Of all that repeats, and as often as it does."""
    run = simulate(models.nonblocking_sleeping, traffic.several(2, every_ms=60))
    texts = re.findall(r">([^<]*×\d+)<", draw.svg(run))
    looks = run.calls().count(("sleep", None))
    assert [text.partition(" ×")[0] for text in texts] == ["recvfrom EAGAIN, sleep"] * 2
    assert sum(int(text.partition("×")[2]) for text in texts) == looks > 10


def test_joined_bars_of_very_many_intervals_share_their_height() -> None:
    quick = replace(Costs.typical(), user=1_000)
    run = simulate(models.nonblocking, traffic.one(), costs=quick, between=compute(5_000))
    svg = draw.svg(run, joined=True)
    assert len(svg) < len(draw.svg(run)) / 3
    for top, high in re.findall(r"M[\d.]+ ([\d.]+)H[\d.]+v([\d.]+)", svg):
        assert 0 <= float(high) <= 26
        assert float(top) > 0
    assert_legible(svg)


def test_px_and_ns_agree(one: Timeline) -> None:
    root = ElementTree.fromstring(draw.svg(one))
    panel = next(g for g in root.iter(f"{SVG}g") if "data-x0" in g.attrib)
    x0, x1, t0, t1 = (float(panel.attrib[f"data-{n}"]) for n in ("x0", "x1", "t0", "t1"))
    for rect in panel.iter(f"{SVG}rect"):
        if "data-lane" in rect.attrib:
            x = x0 + (int(rect.attrib["data-start"]) - t0) * (x1 - x0) / (t1 - t0)
            assert float(rect.attrib["x"]) == pytest.approx(x, abs=1.01)
            assert float(rect.attrib["width"]) >= 1


def test_short_intervals_stay_visible() -> None:
    svg = draw.svg(simulate(models.nonblocking, traffic.one(), costs=Costs.typical()))
    widths = [float(w) for w in re.findall(r'<rect x="[^"]*" y="[^"]*" width="([^"]*)"', svg)]
    assert min(widths) >= 1


def test_ids_of_different_pictures_differ_and_resolve(five: list[Timeline]) -> None:
    seen: set[str] = set()
    for run in five:
        svg = draw.svg(run)
        ids = set(re.findall(r' id="([^"]+)"', svg))
        assert not ids & seen
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= ids
        seen |= ids


def test_no_number_has_more_than_two_decimals(five: list[Timeline]) -> None:
    for run in five:
        assert not re.search(r'="-?\d+\.\d{3,}"', draw.svg(run))
        assert not re.search(r'="-?\d+\.\d{3,}"', draw.stevens(run).svg)


def test_nothing_is_fetched_from_elsewhere(five: list[Timeline]) -> None:
    for svg in [draw.svg(five[0]), draw.stevens(five[0]).svg, draw.compare(five).svg]:
        assert re.findall(r"https?://[^\"']+", svg) == ["http://www.w3.org/2000/svg"]
        assert "href" not in svg


# -- in a notebook ----------------------------------------------------------------------------


class Tags(HTMLParser):
    """The tags of a piece of HTML with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_picture_is_stored_once_and_described(five: list[Timeline]) -> None:
    for what in (*five, draw.compare(five), draw.stevens(five[0])):
        svg = draw.svg(what) if isinstance(what, Timeline) else what.svg
        forms = what._repr_mimebundle_()
        assert set(forms) == {"text/plain", "text/markdown"}
        [(tag, attributes)] = Tags(forms["text/markdown"]).found
        assert tag == "img"
        assert attributes["alt"] == ElementTree.fromstring(svg).findtext(f"{SVG}desc")
        head, _, data = (attributes["src"] or "").partition(",")
        assert head == "data:image/svg+xml;base64"
        assert b64decode(data).decode() == svg


@pytest.mark.parametrize("title", ["a $x$ b", "\\(x\\)", "one\n\n# two", '"><script>', "`a`"])
def test_markdown_leaves_a_picture_as_it_is(one: Timeline, title: str) -> None:
    """One line without what Markdown, or the mathematics in it, would take for its own."""
    forms = replace(one, title=title)._repr_mimebundle_()
    assert not set(forms["text/markdown"]) & set("$\\\n")
    [(_, attributes)] = Tags(forms["text/markdown"]).found
    assert (attributes["alt"] or "").startswith(title)


# -- words ------------------------------------------------------------------------------------


def test_alt_text_says_what_the_picture_shows(five: list[Timeline]) -> None:
    for run in five:
        root = ElementTree.fromstring(draw.svg(run))
        assert root.get("role") == "img"
        desc = root.findtext(f"{SVG}desc") or ""
        assert desc.startswith(f"{run.title}, simulated:")
        assert f"Blocked in wait {draw.duration(run.blocked(WAIT))}" in desc
        assert run.title in (
            ElementTree.fromstring(draw.stevens(run).svg).findtext(f"{SVG}desc") or ""
        )
    both = ElementTree.fromstring(draw.compare(five).svg).findtext(f"{SVG}desc") or ""
    assert all(run.title in both for run in five)


@pytest.mark.parametrize(("kernel", "tag"), [
    ("simulated", "SIMULATED"), ("measured", "MEASURED"), ("recorded", "RECORDED"),
    ("witnessed", "WITNESSED"),
])  # fmt: skip
def test_kinds_of_runs_are_told_apart(one: Timeline, kernel: str, tag: str) -> None:
    run = replace(one, kernel=kernel, machine="" if kernel == "simulated" else "Linux 6.8, 4 cores")
    pictures = [draw.svg(run), draw.text(run), draw.stevens(run).svg, draw.compare([run, run]).svg]
    for picture in pictures:
        assert tag in picture
        assert all(other.name not in picture for other in canvas.TAGS.values() if other.name != tag)
    assert kernel == "simulated" or all("Linux 6.8, 4 cores" in text for text in pictures[:2])
    assert canvas.TAGS[kernel].colour in pictures[0]
    assert len({tag.colour for tag in canvas.TAGS.values()}) == 4


NASTY = "<script>&\"'\x00\ufffe\ud800]]> ×"


def test_text_is_escaped(one: Timeline) -> None:
    run = replace(one, title=NASTY, kernel="measured", machine=NASTY)
    for svg in (draw.svg(run), draw.stevens(run).svg, draw.compare([run, run]).svg):
        ElementTree.fromstring(svg)
        assert "<script" not in svg
        assert_legible(svg)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_any_title_is_well_formed(title: str) -> None:
    run = replace(simulate(models.blocking, traffic.one()), title=title, machine=title)
    assert_legible(draw.svg(run))


def test_text_picture() -> None:
    """The text form of one small run, exactly."""
    run = simulate(models.blocking, traffic.one())
    assert draw.text(run, width=72) == EXPECTED


EXPECTED = """\
[SIMULATED] blocking: virtual time, 24.6 ms, 1 core

process   |#KzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzrKKKKKKK|
message 1 |wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwqqCCCCCCC|
network   |                                                >>>>        |
          ++-----------+-----------+-----------+-----------+-----------+
           0           5           10          15          20         ms
# user: own code   K kernel: in a call   r ready: wants a core
z sleeping   w wait: data not here yet   q queued: here, not fetched
C copy: kernel to process   > on its way

1 call:
      0.200 ms  recvfrom(fd 3) returns 1,000 bytes after 24.4 ms, asleep
    20.6 ms

Figure 6.6: wait: blocked, copy: blocked, copy set off by: program, told
    by: return
blocked in wait 20.3 ms, in copy 3 ms; CPU 3.7 ms; switches 1 voluntary,
    0 involuntary"""


def test_text_groups_repeated_calls() -> None:
    text = draw.text(simulate(models.nonblocking, traffic.one(after_ms=60)))
    assert re.search(r"recvfrom\(fd 3\) EAGAIN ×\d+", text)


@pytest.mark.parametrize(("ns", "text"), [
    (0, "0 ms"), (1, "1 ns"), (850, "850 ns"), (1_000, "1 µs"), (1_250, "1.25 µs"),
    (19_500_000, "19.5 ms"), (2_000_000_000, "2 s"), (123_456_789, "123 ms"),
])  # fmt: skip
def test_durations(ns: int, text: str) -> None:
    assert formatting.duration(ns) == text


# -- looks ------------------------------------------------------------------------------------


def test_states_differ_by_pattern_and_colour() -> None:
    for (a, one_look), (b, other) in combinations(canvas.LOOKS.items(), 2):
        assert one_look.hatch != other.hatch, (a, b)
        assert one_look.fill != other.fill, (a, b)
        assert one_look.char != other.char, (a, b)


def test_what_meets_on_one_lane_differs_in_grey() -> None:
    for group in (("user", "kernel", "ready", "sleeping"), ("wait", "queued", "copy")):
        grey = [canvas.luminance(canvas.LOOKS[state].fill) for state in group]
        for a, b in combinations(grey, 2):
            assert abs(a - b) > 0.08


def test_text_is_readable_on_its_ground() -> None:
    for colour in (canvas.INK, canvas.MUTED, *(tag.colour for tag in canvas.TAGS.values())):
        assert 1.05 / (canvas.luminance(colour) + 0.05) >= 4.5  # WCAG 2.2, 1.4.3


# -- Stevens ----------------------------------------------------------------------------------

FIGURES = {
    "blocking": ["recvfrom", "no data ready", "data ready", "copy complete", "return OK",
                 "process blocks in recvfrom"],
    "nonblocking": ["EAGAIN", "more checks with EAGAIN", "process repeatedly calls recvfrom"],
    "multiplexing": ["return: readable", "process blocks in select"],
    "signal_driven": ["deliver SIGIO", "process continues executing", "sigaction, fcntl ×2"],
    "asynchronous": ["io_uring_submit", "completion in the ring", "process continues executing"],
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_stevens_tells_each_model(name: str) -> None:
    picture = draw.stevens(simulate(getattr(models, name), traffic.one()))
    for word in FIGURES[name]:
        assert word in str(picture)
    assert "wait for data" in str(picture)
    bundle = picture._repr_mimebundle_()
    assert bundle == shown.bundle(str(picture), shown.picture(picture.svg))
    assert ElementTree.fromstring(picture.svg).get("role") == "img"


def test_stevens_says_blocked_only_where_the_run_was() -> None:
    assert "process blocks" not in str(draw.stevens(simulate(models.asynchronous, traffic.one())))


def test_stevens_puts_a_copy_inside_its_call() -> None:
    """Also where both begin at the same instant, as in a measured run."""
    run = simulate(models.nonblocking, traffic.one(), costs=Costs(syscall=0))
    lines = str(draw.stevens(run)).splitlines()
    (begun,) = (line for line in lines if "copy data " in line)
    (done,) = (line for line in lines if "copy complete" in line)
    assert "recvfrom" in begun
    assert "return OK" in done


def test_stevens_draws_any_message_but_no_other() -> None:
    run = simulate(models.multiplexing, traffic.several(3))
    assert len({draw.stevens(run, n).svg for n in (1, 2, 3)}) == 3
    with pytest.raises(ValueError, match="no message 4: this run has 1 to 3"):
        draw.stevens(run, 4)


# -- Figure 6.6 -------------------------------------------------------------------------------


def test_compare_is_figure_6_6(five: list[Timeline]) -> None:
    picture = draw.compare(five)
    assert_legible(picture.svg)
    table = [line.split() for line in str(picture).splitlines()[1:]]
    assert [row[0] for row in table] == list(FIGURES)
    assert [row[2:4] for row in table] == [
        ["blocked", "blocked"], ["checks", "blocked"], ["blocked", "blocked"],
        ["free", "blocked"], ["free", "free"],
    ]  # fmt: skip
    assert [row[-1] for row in table] == ["synchronous"] * 4 + ["asynchronous"]
    assert picture == draw.compare(five)


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("first", range(0, len(MODELS), 4))
def test_compare_is_legible(first: int, story: str) -> None:
    chosen = [*MODELS[first : first + 4], *MODELS[:2]]
    assert_legible(draw.compare([simulate(p, STORIES[story]) for p in chosen]).svg)


def test_compare_takes_two_to_six(one: Timeline) -> None:
    for wrong in ([], [one], [one] * 7):
        with pytest.raises(ValueError, match="2 to 6 timelines"):
            draw.compare(wrong)


# -- arguments, speed, matplotlib -------------------------------------------------------------


def test_arguments_are_checked(one: Timeline) -> None:
    with pytest.raises(ValueError, match="width must be from"):
        draw.svg(one, width=10)
    with pytest.raises(ValueError, match="a window needs"):
        draw.svg(one, window=(5, 5))
    with pytest.raises(ValueError, match="width must be from"):
        draw.text(one, width=20)


def test_an_empty_run_can_be_drawn() -> None:
    run = Timeline("nothing", "simulated", 1, (), (), (), ())
    assert_legible(draw.svg(run))
    assert "nothing" in draw.text(run)


def test_one_message_is_drawn_in_about_a_millisecond(one: Timeline) -> None:
    times = []
    for _ in range(50):
        start = time.process_time_ns()
        draw.svg(one)
        times.append(time.process_time_ns() - start)
    assert min(times) < 3_000_000  # measured: 0.4 ms; the bound leaves room for slow machines


def test_matplotlib_shows_every_interval(five: list[Timeline]) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    for run in five[2:4]:
        ax = draw.plot(run)
        states = {look_of(i) for i in run.intervals}
        assert len(ax.collections) == len(states)
        assert sum(len(c.get_paths()) for c in ax.collections) == len(run.intervals)
        assert draw.plot(run, ax) is ax
        finished = draw.show(ax, run)
        assert finished._repr_mimebundle_() == shown.bundle(finished.alt, finished.html())
        assert finished.alt == draw.describe(run)
        assert f'<img alt="{escape(finished.alt)}" src="data:image/png;' in finished.html()
    with pytest.raises(ValueError, match="alt must say"):
        draw.show(ax, " ")


def test_dots_stand_over_predicted_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each series is told apart by its mark and its line too, and one may have no prediction."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn: list[Any] = []
    monkeypatch.setattr(charts, "show", lambda figure, alt: drawn.append((figure, alt)))
    measured = {name: {1: 10.0, 2: 20.0} for name in "abcd"}
    predicted = {name: {1: 11.0, 2: 21.0, 3: 31.0} for name in "abc"}
    draw.dots(measured, predicted, "words", xlabel="connections", yscale="log")
    [(figure, words)] = drawn
    [ax] = figure.axes
    assert (words, ax.get_xlabel(), ax.get_yscale()) == ("words", "connections", "log")
    lines = {line.get_label(): line for line in ax.lines}
    assert len(lines) == 4 + 3
    assert list(lines["c: measured"].get_ydata()) == [10, 20]
    assert list(lines["c: predicted"].get_xdata()) == [1, 2, 3]
    assert lines["c: measured"].get_linestyle() == "None"
    assert len({lines[f"{name}: measured"].get_marker() for name in measured}) == 4
    assert len({lines[f"{name}: predicted"].get_linestyle() for name in predicted}) == 3
    pyplot.close(figure)
    with pytest.raises(ValueError, match="series must be 4 at most, got 5"):
        draw.dots({**measured, "e": {}}, predicted, "words")
    draw.dots({}, predicted, "words")  # predicted alone: where nothing can be measured
    figure, _ = drawn[-1]
    assert [line.get_label() for line in figure.axes[0].lines] == [f"{n}: predicted" for n in "abc"]
    pyplot.close(figure)


def test_a_part_that_was_cut_out_fills_the_picture() -> None:
    run = simulate(models.blocking, traffic.one())
    start, end = 20_000_000, run.end
    assert f'data-t0="{start}" data-t1="{end}"' in draw.svg(run.between(start, end))


def test_inline_is_a_document_of_its_own_and_the_picture_where_that_is_taken_away() -> None:
    run = simulate(models.blocking, traffic.one())
    forms = draw.inline(run)._repr_mimebundle_()
    data = b64encode(draw.svg(run).encode()).decode()
    live = f'<object type="image/svg+xml" data="data:image/svg+xml;base64,{data}">'
    assert forms["text/markdown"] == f"{live}{shown.picture(draw.svg(run))}</object>"
    assert forms["text/plain"] == str(run)
    picture = draw.stevens(run)
    assert shown.picture(picture.svg) in draw.inline(picture).html
    with pytest.raises(TypeError, match="inline draws a Timeline or a Picture, got 3"):
        draw.inline(3)


def test_a_part_says_that_it_is_one_and_of_what_run() -> None:
    """In its heading, its alt text and its text form, with numbers that are all of this part."""
    run = simulate(models.multiplexing, traffic.several(3))
    whole = draw.duration(run.end)
    second = [call for call in run.call_log if call.name == "select"][1]
    part = run.between(second.start + 1, second.end + 1_000)
    words = f"{draw.duration(part.start)} to {draw.duration(part.end)} of {whole}"
    svg = draw.svg(part)
    assert f"virtual time · {words} · 1 core" in svg
    assert f"1 core, only the part from {words}; " in svg
    assert "1 call: select. 2 messages, 0 of them received." in svg
    assert f"virtual time, {words}, 1 core" in str(part)
    assert "\n1 call:\n" in str(part)
    assert "recvfrom" not in str(part)
    assert draw.svg(run, window=part.window[:2] if part.window else None) == svg


def test_no_length_is_told_of_what_is_cut() -> None:
    run = simulate(models.blocking, traffic.one())
    svg = draw.svg(run.between(10_000_000, run.end))
    words = [text for *_, text in boxes(svg)]
    assert "sleeping" in words
    assert "wait" in words
    assert "copy 3 ms" in words
    tips = ElementTree.fromstring(svg).iter(f"{SVG}title")
    assert any("sleeping 20.6 ms, from 0.700 ms" in (tip.text or "") for tip in tips)


def test_a_part_in_text_has_its_own_axis() -> None:
    run = simulate(models.blocking, traffic.one())
    process, *_, ticks = str(run.between(10_000_000, run.end)).splitlines()[2:7]
    assert process.startswith("process   |zzzz")
    assert ticks.split()[0] == "10"


def test_queued_is_true_of_what_is_copied_already() -> None:
    """As a completion is that nobody has fetched, or the result of a job."""
    run = simulate(models.asynchronous, traffic.one())
    (queued,) = (i for i in run.lane("message 1") if i.state == QUEUED)
    (copied,) = (i for i in run.lane("message 1") if i.state == COPY)
    assert copied.end <= queued.start
    for picture in (draw.svg(run), str(run)):
        assert "queued: here, not fetched" in picture
