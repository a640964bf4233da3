"""What should hold in every run: a claim says what is wrong with an outcome, or nothing.

Any function of a `Timeline` is one: an outcome answers what its timeline answers, and besides what
the program returned.  It returns what is wrong, in words, or False; "", None and True are fine.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate
from typing import Any

from ..plain.simulate import Outcome
from ..trace import Visit
from ..validate import number, whole
from ..workloads.clients import RECEIVE, WAIT, Clients

__all__ = [
    "Claim", "all_of", "clean_end", "everybody_is_served", "memory_below", "nothing_lost",
    "nothing_reordered", "returns", "short", "took_ns", "wrong",
]  # fmt: skip

Claim = Callable[[Any], str | bool | None]


def wrong(claim: Claim, outcome: Outcome) -> str:
    """What is wrong, in words; "" if nothing is."""
    said = claim(outcome)
    if said is False:
        return f"{getattr(claim, '__name__', repr(claim))} does not hold"
    return said if isinstance(said, str) else ""


def all_of(*claims: Claim) -> Claim:
    """All of them; the first one that does not hold says so."""
    return lambda outcome: next(filter(None, (wrong(claim, outcome) for claim in claims)), "")


def returns(expected: object, in_order: bool = True) -> Claim:
    """The program returns this, and of the same type; `in_order` False: a list in any order."""
    wanted = expected if in_order else _sorted(expected)

    def holds(outcome: Outcome) -> str:
        if outcome.ended:
            return f"it was not over, and should have returned {short(expected)}"
        returned = outcome.returned if in_order else _sorted(outcome.returned)
        difference = _difference(returned, wanted)
        return difference and f"it returned {difference}"

    return holds


def _sorted(found: object) -> object:
    """A list whose items can be compared; anything else as it is."""
    with suppress(TypeError):
        return sorted(found) if isinstance(found, list) else found
    return found


OF_TYPE, CUT = " of type ", "..."


def _difference(found: object, expected: object) -> str:
    """What there is, and what should be; of long lists the first place.  "" if they are alike."""
    alike = list(found) if isinstance(found, tuple) else found
    if alike == expected and not isinstance(found, type(expected)):
        kinds = type(found).__name__, type(expected).__name__
        return f"{short(found)}{OF_TYPE}{kinds[0]}, not{OF_TYPE}{kinds[1]}"
    whole = f"{short(found)}, not {short(expected)}"
    if isinstance(found, list) and isinstance(expected, list):
        for place, (one, other) in enumerate(zip(found, expected, strict=False), 1):
            inside = _difference(one, other)
            if inside and (CUT in whole or OF_TYPE in inside):
                return f"{short(found)}: item {place} is {inside}"
    return "" if found == expected else whole


def nothing_lost(outcome: Outcome) -> str:
    """Every client gets what it waits for, whole and in order; every message is received."""
    if not isinstance(outcome.story, Clients):
        missed = [one for one in outcome.timeline.deliveries if one.received is None]
        return f"message {missed[0].message} was never received" if missed else ""
    for visit, client in zip(outcome.visits, outcome.story.clients, strict=True):
        wanted = client.total(RECEIVE)
        if visit.garbled:
            return f"client {visit.client} got other bytes than it should have"
        if visit.received < wanted:
            why = f": {visit.end}" if visit.end else ""
            return f"client {visit.client} got {visit.received} of {wanted} bytes{why}"
    return ""


def nothing_reordered(outcome: Outcome) -> str:
    """What a client gets is what it has sent, in order, as far as it gets anything."""
    garbled = [visit.client for visit in outcome.visits if visit.garbled]
    return f"client {garbled[0]} got other bytes than it should have" if garbled else ""


def everybody_is_served(within_ms: float) -> Claim:
    """The same, and each client is through in so much time after its last own act."""
    bound = number("within_ms", within_ms, 0, 3.6e6, "ms") * 1e6

    def holds(outcome: Outcome) -> str:
        for visit in outcome.visits:
            took = took_ns(outcome, visit, outcome.kernel.now if visit.over is None else visit.over)
            if took > bound:
                return f"client {visit.client} was served after {took / 1e6:,.3f} ms"
        return nothing_lost(outcome)

    return holds


def took_ns(outcome: Outcome, visit: Visit, until: int) -> int:
    """How long a visit had taken at the instant `until`, less what the client waits by itself."""
    assert isinstance(outcome.story, Clients)
    return until - (visit.begun or 0) - outcome.story.clients[visit.client].total(WAIT)


def memory_below(nbytes: int) -> Claim:
    """What the program has received and not sent on is never more."""
    whole("nbytes", nbytes, 0, 1 << 40, "bytes")

    def holds(outcome: Outcome) -> str:
        moves = [call.nbytes - call.sent for call in outcome.timeline.call_log]
        held = max(accumulate(moves), default=0)
        return f"it held {held:,} bytes, more than {nbytes:,}" if held > nbytes else ""

    return holds


def clean_end(outcome: Outcome) -> str:
    """Nothing is left open but what the program was given."""
    given = len(outcome.story.clients) if isinstance(outcome.story, Clients) else 0
    left = sorted(outcome.kernel.table.open)[1 if given else 0 :]
    return f"{len(left)} descriptors are left open" if left else ""


def short(value: object) -> str:
    """It, in words that are not too many."""
    text = repr(value)
    if isinstance(value, bytes) and len(value) > 12:
        return f"{len(value):,} bytes ({value[:6]!r}...)"
    return text if len(text) <= 60 else text[:57] + CUT
