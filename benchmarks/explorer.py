"""A slider to its new picture, in JupyterLab in a browser: ratios to the barest widget of one run.

    python benchmarks/explorer.py [--samples 60] [--rounds 5]

One notebook holds all the ways, which take turns, a few keys each, as a reader moves one slider:

    bare        IntSlider -> HTML, a word of text: the way to the kernel and back
    explorer    ModelExplorer, one message
    explorer+   ModelExplorer with at least 200 intervals
    matplotlib  the same picture by `interact` and inline matplotlib

The page's own clock measures, from the key's event to the change of the page, and to the frame in
which it is shown (the next requestAnimationFrame).  Then 20 keys come as fast as a keyboard repeats
them, and the frames with a picture of their own are counted; and the playhead steps, which must not
ask the kernel.

Jupyter's server does not set TCP_NODELAY where it talks to the browser.  There an answer follows
the kernel's "busy", so by Nagle's algorithm it waits for the ACK of that, and if the browser's
system delays it, for 40 ms: every widget meets that now and then, and a median of few keys says
mostly how often.  So the ratios and their bounds are those of a server that sets it; the table of
one as it is stands below.  Prints whether each bound holds, writes build/explorer.json, and exits
with 1 if one does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import lab  # noqa: E402

from iosim.machine.cores import usable_cores  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Page

RESULT = ROOT / "build" / "explorer.json"
KEYS = 20
REPEAT_S = 1 / 25  # as keyboards repeat by default under X11; Windows at its fastest: 1 / 30
INTERVALS = 200

START, SWING = 50, 6  # where a slider starts, and after how many keys it is the next one's turn
WARM = 1  # turns of each way, before those that count
REST_MS = 100  # between two keys: what the last one set off is over
SETTLE_MS = 600  # after the last key: the last picture has come
EXPLORERS = ("explorer", "explorer+")

BARE = f"""
import ipywidgets as w
slider, html = w.IntSlider({START}, 0, 100), w.HTML("")
slider.observe(lambda change: setattr(html, "value", str(change["new"])), "value")
display(w.VBox([slider, html]))
"""
FEW = f"""
from iosim.explore import ModelExplorer
few = ModelExplorer(delay_ms={START})
display(few)
"""
MANY = f"""
many = ModelExplorer(model="nonblocking_sleeping", messages=5, delay_ms={START})
assert len(many.shows.run.intervals) >= {INTERVALS}
display(many)
"""
MATPLOTLIB = f"""
%matplotlib inline
import matplotlib.pyplot as plt
from iosim import models, simulate, traffic
@w.interact(delay_ms=w.IntSlider({START}, 0, 100))
def show(delay_ms):
    figure, axes = plt.subplots(figsize=(10, 4))
    simulate(models.blocking, traffic.one(after_ms=delay_ms)).plot(axes)
    plt.show()
"""


class Way(NamedTuple):
    """Where it is in the notebook, what a key moves, what changes, and how one sees that it did."""

    cell: int
    slider: str
    picture: str
    is_new: str  # of a MutationRecord
    which: str  # picture it is, of its element


CELLS = [BARE, FEW, MANY, MATPLOTLIB]
NEW_TEXT = "type === 'childList' && addedNodes.length"
NEW_VIEW = "attributeName === 'data-seq'"
NEW_PLACE = "attributeName === 'x1'"
NEW_IMAGE = "[...addedNodes].some(e => e.matches?.('img') || e.querySelector?.('img'))"
SLIDERS = {
    "bare": Way(0, ".noUi-handle", ".widget-html-content", NEW_TEXT, "e.textContent"),
    "explorer": Way(1, "[name=delay_ms]", ".iosim-picture", NEW_VIEW, "e.dataset.seq"),
    "explorer+": Way(2, "[name=delay_ms]", ".iosim-picture", NEW_VIEW, "e.dataset.seq"),
    "matplotlib": Way(
        3, ".noUi-handle", ".jp-OutputArea", NEW_IMAGE, "e.querySelector('img')?.src"
    ),
}
PLAYHEADS = {
    "playhead": Way(1, "[name=playhead]", ".iosim-picture", NEW_PLACE, ""),
    "playhead+": Way(2, "[name=playhead]", ".iosim-picture", NEW_PLACE, ""),
}

#: JupyterLab takes the arrows from a slider of ipywidgets, unless it says that they are its own.
PREPARE = """
document.querySelectorAll('.noUi-handle').forEach(e => { e.dataset.lmSuppressShortcuts = ''; });
window.bench = {
  cells: [...document.querySelectorAll('.jp-Notebook-cell')],
  last: (cell, selector) => [...bench.cells[cell].querySelectorAll(selector)].at(-1),
  frame: () => new Promise(requestAnimationFrame),
};
window.addEventListener('keydown', event => { bench.pressed = event.timeStamp; }, true);
"""
FOCUS = """async ([cell, slider]) => {
    bench.last(cell, slider).focus();
    await bench.frame();
    await bench.frame();  // it may have scrolled there
}"""
#: [ms from the key to the change, ms from the key to the frame that shows it], in `bench.took`
WATCH = """([cell, picture]) => {
    bench.took = null;
    const observer = new MutationObserver(records => {
        const changed = performance.now();
        if (!records.some(({type, addedNodes, attributeName}) => IS_NEW)) return;
        observer.disconnect();
        requestAnimationFrame(() => {
            bench.took = [changed - bench.pressed, performance.now() - bench.pressed];
        });
    });
    const all = {childList: true, subtree: true, characterData: true, attributes: true};
    observer.observe(bench.last(cell, picture), all);
}"""
#: Count the pictures that are shown, frame by frame.
COUNT = """([cell, picture]) => {
    const which = e => WHICH;
    let last = which(bench.last(cell, picture));
    bench.shown = 0;
    bench.going = true;
    const look = () => {
        const now = which(bench.last(cell, picture));
        if (now !== undefined && now !== last) bench.shown += 1;
        last = now ?? last;
        if (bench.going) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""


class Took(NamedTuple):
    """Of one key, in ms."""

    changed: float
    shown: float


Samples = dict[str, list[Took]]


# -- measuring -------------------------------------------------------------------------------------


def samples(page: Page, number: int) -> Samples:
    """Each way in its turn; the first turn warms up and does not count.

    A slider swings to and fro around START, a playhead goes forth from the beginning.
    """
    found: Samples = {name: [] for name in SLIDERS | PLAYHEADS}
    for turn in range(-WARM, -(-number // SWING)):
        for name, way in (SLIDERS | PLAYHEADS).items():
            page.evaluate(FOCUS, [way.cell, way.slider])
            if name in PLAYHEADS:
                page.keyboard.press("Home")
            back = turn % 2 == 1 and name in SLIDERS
            took = [one(page, way, "ArrowLeft" if back else "ArrowRight") for _ in range(SWING)]
            if turn >= 0:
                found[name] += took
    return found


def one(page: Page, way: Way, key: str) -> Took:
    page.wait_for_timeout(REST_MS)
    page.evaluate(WATCH.replace("IS_NEW", way.is_new), [way.cell, way.picture])
    page.keyboard.press(key)
    page.wait_for_function("bench.took")
    return Took(*page.evaluate("bench.took"))


def frames(notebook: lab.Notebook, rounds: int) -> dict[str, list[int]]:
    """How many pictures are seen of KEYS fast keys, each way in its turn.

    The next one's turn comes when the kernel has done with all of them, seen or not.
    """
    page = notebook.page
    found: dict[str, list[int]] = {name: [] for name in SLIDERS}
    for turn in range(rounds):
        for name, way in SLIDERS.items():
            page.evaluate(FOCUS, [way.cell, way.slider])
            page.evaluate(COUNT.replace("WHICH", way.which), [way.cell, way.picture])
            hold(page, "ArrowLeft" if turn % 2 == 0 else "ArrowRight")
            page.wait_for_timeout(SETTLE_MS)
            found[name].append(page.evaluate("(bench.going = false, bench.shown)"))
            notebook.ask("None")
    return found


def hold(page: Page, key: str) -> None:
    """As a key that is held down."""
    start = perf_counter()
    for number in range(KEYS):
        sleep(max(0, start + number * REPEAT_S - perf_counter()))
        page.keyboard.down(key)
    page.keyboard.up(key)


# -- the tables ------------------------------------------------------------------------------------


def p95(values: list[float]) -> float:
    return quantiles(values, n=20)[18]


class Bound(NamedTuple):
    """What was asked for, and what was found."""

    words: str
    found: float
    bound: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.found >= self.bound if self.at_least else self.found <= self.bound


def bounds(found: Samples, seen: dict[str, list[int]]) -> Iterator[Bound]:
    shown = {name: [took.shown for took in row] for name, row in found.items()}
    for name in EXPLORERS:
        ratio = median(shown[name]) / median(shown["bare"])
        yield Bound(f"{name}: the median to that of bare", ratio, 1.3)
        yield Bound(f"{name}: p95 to that of bare", p95(shown[name]) / p95(shown["bare"]), 1.6)
        yield Bound(f"{name}: pictures of {KEYS} keys", median(seen[name]), 16, at_least=True)
    for name in PLAYHEADS:
        yield Bound(f"{name}: p95 of a step, ms", p95(shown[name]), 16)


def table(found: Samples, seen: dict[str, list[int]]) -> None:
    print(f"{'ms from the key':16}{'to the change':>22}{'to its frame':>22}{'to bare':>16}", end="")
    print(f"{f'shown of {KEYS}':>16}")
    print(f"{'':16}{'median':>12}{'p95':>10}{'median':>12}{'p95':>10}{'median':>9}{'p95':>7}")
    base = [took.shown for took in found["bare"]]
    for name, row in found.items():
        changed, shown = (list(column) for column in zip(*row, strict=True))
        print(f"{name:16}{median(changed):12.1f}{p95(changed):10.1f}", end="")
        print(f"{median(shown):12.1f}{p95(shown):10.1f}", end="")
        print(f"{median(shown) / median(base):9.2f}{p95(shown) / p95(base):7.2f}", end="")
        print(f"{median(seen[name]):11g} ({min(seen[name])})" if name in seen else "")


def report(found: Samples, seen: dict[str, list[int]]) -> int:
    """Print whether each bound holds, and store what was found; 1 if one does not."""
    held = list(bounds(found, seen))
    for bound in held:
        sign = ">=" if bound.at_least else "<="
        verdict = "holds" if bound.holds else "DOES NOT HOLD"
        print(f"{bound.words}: {bound.found:.2f} {sign} {bound.bound:g}: {verdict}")
    stored: dict[str, Any] = {"python": sys.version.split()[0], "cores": usable_cores()}
    stored |= {
        "ms": found,
        "shown": seen,
        "bounds": [b._asdict() | {"holds": b.holds} for b in held],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    return int(not all(bound.holds for bound in held))


def measure(number: int, rounds: int, nodelay: bool) -> tuple[Samples, dict[str, list[int]]]:
    with (
        lab.serving(nodelay) as server,
        lab.browsing() as browser,
        lab.working(browser, server) as desk,
        lab.opened(desk, CELLS) as notebook,
    ):
        notebook.run_all()
        for name in EXPLORERS:
            notebook.page.locator("[name=delay_ms]:enabled").nth(EXPLORERS.index(name)).wait_for()
        notebook.page.locator(".jp-OutputArea img").wait_for()
        notebook.page.evaluate(PREPARE)
        found = samples(notebook.page, number)
        return found, frames(notebook, rounds)


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, default=60, help="keys for each way")
    parser.add_argument("--rounds", type=int, default=5, help=f"of {KEYS} fast keys for each way")
    asked = parser.parse_args()
    if reason := lab.missing():
        print(reason)
        return 1
    print(f"Python {sys.version.split()[0]}, {usable_cores()} cores, {asked.samples} keys each")
    tables = {}
    for nodelay in (True, False):
        print(f"\nTCP_NODELAY {'set' if nodelay else 'as Jupyter has it: not set'}")
        tables[nodelay] = measure(asked.samples, asked.rounds, nodelay)
        table(*tables[nodelay])
    print()
    return report(*tables[True])


if __name__ == "__main__":
    sys.exit(main())
