"""Several runs over one time axis: what each model does while the same messages come.

Each run is a compact pair of rows, its process over its data; where a run was measured it stands
under its prediction, and each bears its tag.  What happens after the first message's arrival is
magnified, each run laid with its own arrival at 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..shown import in_columns
from ..trace import COPY, NETWORK, WAIT, Timeline
from ..trace.comparison import compare
from ..validate import whole
from .canvas import MUTED, TAGS, Picture, Sheet, Tag, clipped, draw_tag, text_width
from .formatting import copying, cores_of, count, duration, took_since_arrival
from .one_clock import closer_look, framed, lines_of
from .paired_runs import arrival, joined, moved, part, sides
from .scene import MARGIN, SMALL, Lane, Scale, Scene
from .text import lanes as lanes_in_text

__all__ = ["HEADS", "clock", "table"]

MOST = 8  # runs, each with its measured one
SPREAD = 4  # the closer look leaves out the end of what takes so many times the median or longer
NEAR = 3  # and is drawn if it magnifies at least so many times
PROCESS_BAR, NEAR_BAR, GAP, UNDER = 15.0, 17.0, 7.0, 4.0
DATA_BARS = ((1, 9.5), (2, 7.0), (8, 6.0), (40, 3.0))  # (at most so many messages, px)
PREDICTED = TAGS["predicted"]


def clock(
    timelines: Sequence[Timeline], measured: Sequence[Timeline] = (), width: int = 700
) -> Picture:
    """One to eight runs on one clock; a run of `measured` stands under that of its program.

    `measured` are runs of the real kernel, or their recordings, each of a program of `timelines`.
    The result shows itself as SVG in a notebook, and as lanes and a table where it is printed.
    TypeError for what is not a timeline; ValueError for another number of runs, for a measured one
    that is simulated, of no program of `timelines` or of one that has its run, and unless
    320 <= width <= 4000.
    """
    runs, real = list(timelines), list(measured)
    _check(runs, real)
    whole("width", width, 320, 4000, "px")
    shown = _paired(runs, real)
    return Picture(_draw(shown, width), _text(shown))


def _check(runs: Sequence[Timeline], real: Sequence[Timeline]) -> None:
    for run in (*runs, *real):
        if not isinstance(run, Timeline):
            raise TypeError(f"clock takes timelines, got {run!r}")
    if not 1 <= len(runs) <= MOST:
        raise ValueError(f"clock takes 1 to {MOST} timelines, got {len(runs)}")
    titles = Counter(run.title for run in runs)
    for run in real:
        if run.kernel == "simulated":
            raise ValueError(f"clock: the measured run of {run.title} is simulated")
        if not titles[run.title]:
            raise ValueError(f"clock: there is no other run of {run.title} on this clock")
        titles[run.title] -= 1


# -- which runs, which rows -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shown:
    """A run with its place: `name` as no other one has it, its tag, and the run it stands under."""

    run: Timeline
    name: str
    tag: Tag
    tagged: bool
    before: Timeline | None = None

    def lane(self, name: str) -> str:
        """What the joint timeline calls one of its lanes."""
        return self.name if (name,) == self.run.processes else f"{self.name}: {name}"

    def near(self, zero: int, scale: Scale) -> _Shown:
        """What of it `scale` shows once it is laid with its own first arrival at `zero`."""
        fate = arrival(self.run)
        assert fate is not None
        by = zero - (fate.arrived or 0)
        return replace(self, run=moved(part(self.run, scale.start - by, scale.end - by), by))


def _paired(runs: Sequence[Timeline], real: Sequence[Timeline]) -> list[_Shown]:
    left, times = list(real), Counter[str]()
    found: list[_Shown] = []
    for run in runs:
        times[run.title] += 1
        name = run.title if times[run.title] == 1 else f"{run.title} {times[run.title]}"
        predicted = bool(real) and run.kernel == "simulated"
        tag = PREDICTED if predicted else _tag(run)
        found.append(_Shown(run, f"{name}, {tag.name.lower()}", tag, bool(real)))
        again = next((other for other in left if other.title == run.title), None)
        if again is not None:
            left.remove(again)
            words = f"{name}, {again.kernel}"
            found.append(_Shown(again, words, _tag(again), True, run))
    return found


def _tag(run: Timeline) -> Tag:
    return TAGS.get(run.kernel, TAGS["recorded"])


def _after(run: Timeline) -> str:
    fate = arrival(run)
    return "" if fate is None else f"{took_since_arrival(fate)} after its arrival"


def _rows(shown: Sequence[_Shown], near: bool) -> Iterator[Lane]:
    """Each run's rows: its processes, then its data; in the closer look only the first message."""
    for each in shown:
        fate = arrival(each.run)
        if near and fate is None:
            continue
        names = [name for name in each.run.lanes if name != NETWORK]
        own = [name for name in names if name in each.run.processes + each.run.helpers]
        data = [name for name in names if name not in own]
        if near and fate is not None:
            data = [name for name in data if _is_of(each.run, name, fate.message)]
        yield from _process_rows(each, own, near)
        yield from _data_rows(each, data, near)


def _is_of(run: Timeline, lane: str, message: int) -> bool:
    return any(i.lane == lane and i.message == message for i in run.intervals)


def _process_rows(each: _Shown, own: Sequence[str], near: bool) -> Iterator[Lane]:
    lines = 2 if near else 0 if each.before else 1
    for place, name in enumerate(own):
        first = "" if each.before else each.name.partition(", ")[0].replace("_", " ")
        yield Lane(
            each.lane(name), NEAR_BAR if near else PROCESS_BAR, lines,
            name in each.run.processes, name if place else first,
            each.tag if each.tagged and not place else None, each.name,
            0.0 if place else UNDER if each.before else GAP,
        )  # fmt: skip


def _data_rows(each: _Shown, data: Sequence[str], near: bool) -> Iterator[Lane]:
    _, bar = next((room for room in DATA_BARS if len(data) <= room[0]), DATA_BARS[-1])
    after = _after(each.run) if len(data) == 1 else ""
    for name in data[: DATA_BARS[-1][0]]:
        label = "data" if len(data) == 1 else name.removeprefix("message ")
        yield Lane(each.lane(name), bar, label=label, run=each.name, after=after)


# -- drawing --------------------------------------------------------------------------------------


def _joint(shown: Sequence[_Shown]) -> Timeline:
    return joined(sides([(each.run, each.lane) for each in shown]), _heading_words(shown))


def _scene(shown: Sequence[_Shown], near: Sequence[_Shown], sheet: Sheet) -> Scene:
    """What of `near` is drawn; arrivals are told apart if the runs `shown` are of two kinds."""
    kinds = tuple(dict.fromkeys(each.tag.name.lower() for each in shown))
    return Scene(_joint(near), sheet, sides=kinds if len(kinds) > 1 else ("",))


def _heading_words(shown: Sequence[_Shown]) -> str:
    models = sum(each.before is None for each in shown)
    return f"{count(models, 'run')} on one clock"


def _draw(shown: Sequence[_Shown], width: int) -> str:
    scene = _scene(shown, shown, Sheet())
    rows = [row for row in _rows(shown, near=False) if row.name in scene.lanes]
    scene.hidden = [name for name in scene.lanes if name not in {row.name for row in rows}]

    def below(scale: Scale, y: float) -> float:
        y = _closer(scene, shown, scale, y)
        return lines_of(scene, list(_sentences(shown)), y + 4, width)

    y, drawn = framed(scene, rows, _room, width, _heading(scene, shown, width), below)
    title = f"{_heading_words(shown)}: {', '.join(each.name for each in shown)}"
    return scene.sheet.finish(width, y, title, _alt(shown), drawn)


def _room(row: Lane) -> float:
    tag = text_width(row.tag.name, 7, True) + 20 if row.tag else 0
    return min(text_width(row.label or "", SMALL), 110.0) + tag


def _heading(scene: Scene, shown: Sequence[_Shown], width: int) -> float:
    sheet, x = scene.sheet, MARGIN
    for tag in {each.tag.name: each.tag for each in shown}.values():
        x = draw_tag(sheet, x, 10, tag) + 7
    title = clipped(_heading_words(shown), width - MARGIN - x - 2, 13, True)
    sheet.text(x + 2, 24, title, 13, bold=True)
    x += 14 + text_width(title, 13, True)
    machines = dict.fromkeys(each.run.machine for each in shown if each.run.machine)
    facts = [*cores_of(shown[0].run, *machines), duration(scene.timeline.end), *machines]
    text = clipped(" · ".join(facts), width - MARGIN - x, SMALL)
    if text:
        sheet.text(x, 24, text, SMALL, fill=MUTED)
    return 34.0


def _closer(scene: Scene, shown: Sequence[_Shown], main: Scale, y: float) -> float:
    """From the first message's arrival on, magnified: each run with its own arrival at 0."""
    arrivals = {each.name: fate.arrived or 0 for each in shown if (fate := arrival(each.run))}
    took = sorted(_took(each.run) for each in shown if each.name in arrivals)
    if not took:
        return y
    zero, most = next(iter(arrivals.values())), SPREAD * took[len(took) // 2]
    reach = max(ns for ns in took if ns <= most)
    scale = Scale(max(0, zero - reach // 8), zero + reach + reach // 6 + 1, main.left, main.right)
    if scale.ratio < NEAR * main.ratio:
        return y
    what = "from the first message's arrival on, in each run"
    near = [each for each in shown if each.name in arrivals]
    aligned = _scene(shown, [each.near(zero, scale) for each in near], scene.sheet)
    rows = [row for row in _rows(near, near=True) if row.name in aligned.lanes]
    return closer_look(scene, aligned, rows, main, scale, zero, what, y, 24)


def _took(run: Timeline) -> int:
    fate = arrival(run)
    assert fate is not None
    return max(1, (fate.received or 0) - (fate.arrived or 0))


def _sentences(shown: Sequence[_Shown]) -> Iterator[str]:
    """What became of each prediction."""
    for each in shown:
        if each.before is None:
            continue
        found = compare(each.before, each.run)
        latency = found["latency after arrival"]
        parts = [found.verdict()]
        if latency.error is not None:
            before, after = round(latency.predicted or 0), round(latency.measured or 0)
            parts = [f"latency {duration(before)}, {each.run.kernel} {duration(after)}", *parts]
        yield f"{each.run.title}: {'; '.join(parts)}"


# -- in words -------------------------------------------------------------------------------------


def _alt(shown: Sequence[_Shown]) -> str:
    parts = [f"{each.name}: {', '.join(_phases(each.run))}" for each in shown]
    sentences = ". ".join(_sentences(shown))
    return f"{_heading_words(shown)}. {'; '.join(parts)}. {sentences + '.' if sentences else ''}"


def _phases(run: Timeline) -> Iterator[str]:
    """What its program does in each phase, and how long it is blocked there."""
    row = run.figure_6_6()
    for phase, does in ((WAIT, row.wait), (COPY, row.copy)):
        if does == "blocked":
            ns = run.blocked(phase)
            yield f"{phase}: blocked {copying(run, ns) if phase == COPY else duration(ns)}"
        elif does:
            yield f"{phase}: {does}"
    if after := _after(run):
        yield after


#: Of the table that says what each run comes to.
HEADS = ("run", "kernel", "calls", "blocked: wait", "blocked: copy", "CPU", "after arrival")


def table(
    timelines: Sequence[Timeline], measured: Sequence[Timeline] = ()
) -> list[tuple[str, ...]]:
    """A row under `HEADS` for each run, in the order in which `clock` draws them, as text."""
    return [_cells(each) for each in _paired(list(timelines), list(measured))]


def _cells(each: _Shown) -> tuple[str, ...]:
    run, fate = each.run, arrival(each.run)
    return (
        run.title, each.tag.name.lower(), f"{len(run.calls()):,}", duration(run.blocked(WAIT)),
        copying(run, run.blocked(COPY)), duration(run.cpu_ns()),
        "-" if fate is None else took_since_arrival(fate),
    )  # fmt: skip


def _text(shown: Sequence[_Shown], width: int = 88) -> str:
    """The processes as lanes of characters, and what each run comes to."""
    lanes = {
        each.lane(name): each.run.lane(name)
        for each in shown for name in (*each.run.processes, *each.run.helpers)
    }  # fmt: skip
    end = max(each.run.end for each in shown)
    rows = [HEADS, *(_cells(each) for each in shown)]
    return "\n".join(
        [f"{_heading_words(shown)}", "", *lanes_in_text(lanes, end, width, 24),
         *in_columns(rows, "ll" + "r" * (len(HEADS) - 2)),
         *_sentences(shown)]
    )  # fmt: skip
