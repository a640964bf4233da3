"""A run in words: durations in good units, calls, and the alt text of every picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from ..trace import (
    COPY,
    KERNEL,
    SLEEPING,
    USER,
    WAIT,
    Call,
    Delivery,
    Interval,
    Row,
    Span,
    Timeline,
    errno_name,
    merged,
)
from ..trace.part import calls_seen, deliveries_seen, outcomes_seen

__all__ = [
    "OPEN", "blocked_of", "called", "cores_of", "count", "describe", "duration", "grouped",
    "headline", "jobs_words", "left_open", "moment", "row_words", "signal_name", "steps", "stretch",
    "tick_text", "tip", "took_since_arrival", "unit_of",
]  # fmt: skip

OPEN = "blank: not known"

UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))


def left_open(lane: Sequence[Interval]) -> bool:
    """Is there a stretch of it in which nobody knows whether data were there?"""
    data = (pair for pair in pairwise(lane) if pair[1].message is not None)
    return any(before.end < after.start for before, after in data)


def unit_of(span: int) -> tuple[int, str]:
    """The unit in which a stretch of `span` ns reads best: its length in ns, and its name."""
    return next(((ns, name) for ns, name in UNITS if span >= 2 * ns), UNITS[-1])


def steps(span: int) -> Iterator[int]:
    """Round numbers of ns, ever larger, for the ticks of an axis over `span` ns."""
    size = 1
    while size <= max(1, span) * 10:
        yield from (size, 2 * size, 5 * size)
        size *= 10


@lru_cache(maxsize=4096)
def tick_text(at: int, step: int, unit: int) -> str:
    """The instant `at` in units of `unit` ns, with the decimals that ticks `step` ns apart need."""
    digits = max(0, len(str(unit)) - len(str(step)))
    return f"{at / unit:,.{digits}f}"


@lru_cache(maxsize=4096)
def duration(ns: int) -> str:
    """`ns` with three digits and a unit: "19.5 ms", "850 ns"."""
    if ns == 0:
        return "0 ms"
    size, name = next(((size, name) for size, name in UNITS if abs(ns) >= size), UNITS[-1])
    value = ns / size
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    text = f"{value:,.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {name}"


def moment(ns: int) -> str:
    """An instant, in ms to the µs: "0.700 ms"."""
    return f"{ns / 1e6:,.3f} ms"


def count(number: int, noun: str) -> str:
    """ "1 call", "2 calls", "2 processes"."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def called(call: Call) -> str:
    """`recvfrom(fd 3)`, `pause()`; what stands in no program has no parentheses: `job 1`."""
    if " " in call.name:
        return call.name
    return f"{call.name}({'' if call.fd is None else f'fd {call.fd}'})"


def grouped(calls: Iterable[Call]) -> list[list[Call]]:
    """Runs of equal calls: same process, name, descriptor and errno, one after the other."""
    groups: list[list[Call]] = []
    kinds: dict[str, tuple[object, ...]] = {}
    for call in calls:
        kind = (call.process, call.name, call.fd, call.errno)
        if groups and kinds.get("last") == kind:
            groups[-1].append(call)
        else:
            groups.append([call])
        kinds["last"] = kind
    return groups


KINDS = 8  # of calls that are told in an alt text; of more the most frequent ones


def _tally(calls: Iterable[Call]) -> str:
    counts = Counter((c.name, c.errno) for c in calls)
    shown = counts.items() if len(counts) <= KINDS else counts.most_common(KINDS - 2)
    parts = [
        name + (f" with {errno_name(errno)}" if errno is not None else "")
        + (f" ×{times}" if times > 1 else "")
        for (name, errno), times in shown
    ]  # fmt: skip
    if len(shown) < len(counts):
        parts.append(f"and {len(counts) - len(shown)} other kinds")
    return ", ".join(parts)


ROW_WORDS = {
    "wait": "wait", "copy": "copy", "starts": "copy set off by", "told": "told by",
}  # fmt: skip


def row_words(row: Row) -> str:
    """The run's row of Figure 6.6 in one line."""
    seen = ((name, getattr(row, name)) for name in ROW_WORDS)
    parts = [f"{ROW_WORDS[name]}: {value}" for name, value in seen if value is not None]
    return ", ".join(parts) if parts else "no phase to show"


def stretch(timeline: Timeline) -> str:
    """ "24.6 ms", or of a part that was cut out "20 ms to 24.6 ms of 24.6 ms"."""
    whole = duration(timeline.run_end)
    if timeline.window is None:
        return whole
    return f"{duration(timeline.start)} to {duration(timeline.end)} of {whole}"


def cores_of(timeline: Timeline, *machines: str) -> list[str]:
    """ "1 core", unless the words for a machine say it anyway."""
    words = count(timeline.cores, "core")
    told = (timeline.machine, *machines)
    return [] if any(words in machine.split(", ") for machine in told) else [words]


def headline(timeline: Timeline) -> str:
    """ "blocking, simulated"."""
    return f"{timeline.title}, {timeline.kernel}"


def blocked_of(timeline: Timeline, process: str, phase: str) -> list[Span]:
    """Where one process is blocked in `phase`, in time, as stretches that do not overlap."""
    return merged(timeline.blocked_spans(phase, process))


def _times(timeline: Timeline, lanes: Sequence[str]) -> str:
    words = {USER: "running its own code", KERNEL: "in the kernel", "ready": "waiting for a core",
             SLEEPING: "asleep"}  # fmt: skip
    totals = dict.fromkeys(words, 0)
    for i in timeline.intervals:
        if i.lane in lanes and i.state in totals:
            totals[i.state] += i.end - i.start
    parts = [f"{words[s]} {duration(ns)}" for s, ns in totals.items() if ns]
    return ("in sum over them: " if parts and len(lanes) > 1 else "") + ", ".join(parts)


def _messages(timeline: Timeline) -> str:
    fates = deliveries_seen(timeline)
    if not fates:
        return "No message."
    if len(fates) == 1:
        fate = fates[0]
        text = f"One message of {fate.size:,} bytes"
        if fate.arrived is None or fate.dropped:
            return f"{text}, {'dropped' if fate.dropped else 'which did not arrive'}."
        text += f", arrived {'by' if fate.sent is None else 'at'} {duration(fate.arrived)}"
        if fate.received is None:
            return f"{text}, never received."
        return f"{text}, in the program's hands {took_since_arrival(fate)} later."
    received = sum(f.received is not None and f.received <= timeline.end for f in fates)
    return f"{len(fates)} messages, {received} of them received."


def took_since_arrival(fate: Delivery) -> str:
    """How long after its arrival the program had it; at least, if only that is known."""
    took = duration((fate.received or 0) - (fate.arrived or 0))
    return took if fate.sent is not None else f"≥ {took}"


def copying(timeline: Timeline, ns: int) -> str:
    """How long a copy took.  A real kernel shows no more than that it lies within its call."""
    return duration(ns) if timeline.kernel == "simulated" or not ns else f"≤ {duration(ns)}"


def jobs_words(timeline: Timeline) -> str:
    """What became of a pool's jobs, and how long the caller was blocked by them."""
    outcomes = outcomes_seen(timeline)
    told = Counter(o.told for o in outcomes if o.told)
    ways = ", ".join(f"{way} ×{times}" for way, times in told.items())
    received = sum(o.received is not None for o in outcomes)
    return (
        f"{count(len(outcomes), 'job')}, {received} received{f', told by {ways}' if ways else ''}; "
        f"the caller blocked {duration(timeline.blocked(WAIT))}"
    )


def describe(timeline: Timeline, row: Row | None = None) -> str:
    """Alt text: what the figure of `timeline` shows, in three or four sentences."""
    if timeline.outcomes:
        return _describe_jobs(timeline)
    own = [c for c in calls_seen(timeline) if c.trap and c.process in timeline.processes]
    row = timeline.figure_6_6() if row is None else row
    where = f" Machine: {timeline.machine}." if timeline.machine else ""
    return (
        f"{headline(timeline)}: {_who(timeline)} on {count(timeline.cores, 'core')}, "
        f"{_length(timeline)}; {_times(timeline, timeline.processes) or 'nothing ran'}. "
        f"{count(len(own), 'call')}{': ' + _tally(own) if own else ''}. {_messages(timeline)} "
        f"Blocked in wait {duration(timeline.blocked(WAIT))}, "
        f"blocked in copy {copying(timeline, timeline.blocked(COPY))}. "
        f"Figure 6.6: {row_words(row)}.{where}"
    )


def _who(timeline: Timeline) -> str:
    """ "2 processes", "1 process and 3 threads": those are of the only process, or of the first."""
    everyone = len(timeline.processes)
    processes = min(everyone, max(1, sum(n.startswith("process") for n in timeline.processes)))
    kinds = {
        "process": processes,
        "thread": everyone - processes,
        "helper thread": len(timeline.helpers),
    }
    return " and ".join(count(many, kind) for kind, many in kinds.items() if many) or "no process"


def _describe_jobs(timeline: Timeline) -> str:
    own = [c for c in calls_seen(timeline) if c.trap and c.process in timeline.processes]
    kinds: dict[str, list[str]] = {}
    for name in (*timeline.processes, *timeline.helpers):
        kinds.setdefault(name.rstrip(" 0123456789"), []).append(name)
    lanes = ", ".join(
        f"{names[0] if len(names) == 1 else count(len(names), kind)} {_times(timeline, names)}"
        for kind, names in kinds.items()
    )
    where = f" Machine: {timeline.machine}." if timeline.machine else ""
    return (
        f"{headline(timeline)}: {count(timeline.cores, 'core')}, "
        f"{_length(timeline)}; "
        f"{lanes}. {count(len(own), 'call')}{': ' + _tally(own) if own else ''}. "
        f"{jobs_words(timeline)}.{where}"
    )


def _length(timeline: Timeline) -> str:
    """`stretch`, which says that the rest is left out."""
    return ("only the part from " if timeline.window else "") + stretch(timeline)


SIGNALS = {10: "SIGUSR1", 12: "SIGUSR2", 14: "SIGALRM", 29: "SIGIO", 34: "SIGRTMIN"}


def signal_name(note: str) -> str:
    """ "signal 29" as "SIGIO"; any other note as it is."""
    word, _, number = note.partition(" ")
    if word != "signal" or not number.isdecimal():
        return note
    return SIGNALS.get(int(number), note)


def tip(interval: Interval) -> str:
    """The tooltip of one interval."""
    took, call = duration(interval.end - interval.start), interval.call
    lines = [f"{interval.lane}: {interval.state} {took}, from {moment(interval.start)}"]
    if call:
        errno = f" → {errno_name(call.errno)}" if call.errno is not None else ""
        lines.append(f"in {called(call)}{errno}")
        if call.line is not None:
            lines.append(f"line {call.line}")
    if interval.note:
        lines.append(signal_name(interval.note))
    return "\n".join(lines)
