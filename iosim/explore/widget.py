"""The widget under every explorer: a state goes in, a view comes out, the browser does the rest.

One widget model stands for the whole explorer, controls and all, so that a page can hold fifty
of them; its front end (`explorer.js`) draws native controls, shows the package's own SVG and moves
the playhead without asking the kernel.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

from ..draw.canvas import Picture
from ..shown import bundle, picture
from .controls import Control, Slider, State, Switch, complete, read, write
from .prefetch import Ahead
from .quiz import Question, verdicts
from .view import View

__all__ = ["Explorer"]

HERE = Path(__file__).parent
PREDICT = Switch("predict", "predict first")
COMMITTED = Switch("committed", "the guess is made")
PLAYHEAD = Slider("at_ms", "playhead", (0.0, 3_600_000.0), 0.0, "ms")
RUN_IT = "It stands still here. Run this cell to move its controls."


class Explorer(anywidget.AnyWidget):
    """What all explorers share; a subclass names its controls and says what a state shows.

    state    the text of a state, as `explorer.state` gives it and the widget's own field shows it
    chosen   single choices by name, in place of that text or over it

    ValueError for a name that this explorer does not have, ValueError or TypeError for a bad value.
    """

    TITLE: ClassVar[str] = ""
    CONTROLS: ClassVar[Sequence[Control]] = ()
    QUESTIONS: ClassVar[Sequence[Question[Any]]] = ()
    #: Buttons, `{method: words}`, and what cancels them.
    ACTIONS: ClassVar[Mapping[str, str]] = {}

    # As text: given a path, anywidget keeps every widget, to change it when the file changes.
    _esm = (HERE / "explorer.js").read_text(encoding="utf-8")

    #: Not anywidget's `_css`: that is written into the page again for each widget, after which a
    #: browser styles all widgets anew: twice the time for forty of them.
    styles = traitlets.Unicode((HERE / "explorer.css").read_text(encoding="utf-8")).tag(sync=True)
    spec = traitlets.Dict().tag(sync=True)
    #: What to show for it; `seq` grows with each view, `n` is the last choice that it answers, -1
    #: if it answers none: more is known of what was shown before.
    #: It travels as one text: ipywidgets would look into every list of it, for buffers.
    shown = traitlets.Dict().tag(sync=True, to_json=lambda shown, _: _text_of(shown))
    #: How far a background task is: {"words": …, "done": …, "total": …}; empty when none runs.
    busy = traitlets.Dict().tag(sync=True)

    def __init__(self, state: str = "", **chosen: object) -> None:
        kind = type(self)
        self._ahead = Ahead(self.CONTROLS, lambda state: kind.view(state))
        known = self.controls()
        values = complete(known, {**self._as_state(state), **chosen})
        self._state: State = values
        self._view = self._ahead.view(values)
        self._seq = 0
        super().__init__(spec=self._spec(), shown=self._packed(0))
        self.on_msg(self._hear)

    # -- for a subclass to say ---------------------------------------------------------------------

    @classmethod
    def view(cls, state: State) -> View:
        """What `state` shows."""
        raise NotImplementedError

    @classmethod
    def visible(cls, state: State) -> Sequence[str]:
        """The names of the controls that matter in `state`."""
        return [control.name for control in cls.CONTROLS]

    def _look(self, state: State) -> View:
        """What this one shows for `state`: more than `view` where it knows more than its state."""
        return self._ahead.view(state)

    # -- for whoever holds one ---------------------------------------------------------------------

    @classmethod
    def controls(cls) -> Sequence[Control]:
        """Everything that a state holds."""
        asks = [question.ask for question in cls.QUESTIONS]
        predict = [PREDICT, *asks, COMMITTED] if asks else []
        return [*cls.CONTROLS, *predict, PLAYHEAD]

    @property
    def state(self) -> str:
        """All that was chosen, as one text that the constructor takes.

        Where the playhead stands is known to the browser only: the text in the widget has it too.
        """
        return write(self.controls(), self._state)

    @property
    def shows(self) -> View:
        """What is shown now."""
        return self._view

    @classmethod
    def preview(cls, state: str = "", **chosen: object) -> View:
        """What an explorer of this state shows, without making one; raises what it would raise."""
        known = cls.controls()
        return cls.view(complete(known, {**read(known, state), **chosen}))

    def set(self, state: str | None = None, **chosen: object) -> None:
        """Choose: a whole `state`, or some of its values; raises what the constructor raises."""
        base = self._state if state is None else self._as_state(state)
        self._show({**base, **chosen})

    def close(self) -> None:
        """Take it off the page and out of the kernel, with the layout that ipywidgets gave it."""
        self._ahead.close()
        layout = self.layout
        super().close()
        layout.close()

    # -- the way in and the way out ----------------------------------------------------------------

    def _as_state(self, text: object) -> State:
        if not isinstance(text, str):
            raise TypeError(f"a state is a text like 'delay_ms=20', got {text!r}")
        return read(self.controls(), text)

    def _answer(self, asked: Mapping[str, Any]) -> None:
        """Show what the reader chose, and make ready what comes next.

        That is {"n": its number, "values": a whole state} or {"n": …, "text": one}.  It comes as a
        message, because a synced trait waits in the browser until the last change of any has been
        dealt with.
        """
        before = self._state
        self._show(asked.get("values") or asked.get("text", ""), asked.get("n", 0))
        self._ahead.expect(before, self._state)

    def _show(self, wanted: Mapping[str, object] | str, n: int = 0) -> None:
        """Show what was asked for; what goes wrong is shown as well, and raised.

        That includes the notebook's interrupt: the page waits for an answer to each choice.
        """
        try:
            chosen = self._as_state(wanted) if isinstance(wanted, str) else wanted
            state = complete(self.controls(), chosen)
            if state.get("committed") and self._asks_anew(state):
                state["committed"] = False
            view = self._look(state)
            _ = view.packed  # which takes a while, too
        except BaseException as error:
            self.shown = {**self.shown, "n": n, "error": _complaint(error)}
            raise
        self._view, self._state = view, state
        self._seq += 1
        self.shown = self._packed(n)

    def _asks_anew(self, state: State) -> bool:
        """Is this another experiment than the one about which the guess was made?"""
        return bool(self._state.get("committed")) and any(
            state[control.name] != self._state[control.name] for control in self.CONTROLS
        )

    @property
    def _hidden(self) -> bool:
        return bool(self._state.get("predict")) and not self._state.get("committed")

    def _spec(self) -> dict[str, object]:
        return {
            "name": type(self).__name__,
            "title": self.TITLE,
            "controls": [control.spec() for control in self.CONTROLS],
            "questions": [question.ask.spec() for question in self.QUESTIONS],
            "actions": dict(self.ACTIONS),
            "defaults": {control.name: control.default for control in self.controls()},
        }

    def _packed(self, n: int) -> dict[str, object]:
        view = self._view
        if self._hidden:  # what the guess is about must not travel with the question
            view = View("", "", program=view.program)
        guessed = self._state.get("predict") and not self._hidden
        rows = verdicts(self.QUESTIONS, self._guesses(), self._view.run) if guessed else []
        return {
            "seq": self._seq, "n": n, "error": "", "values": self._state, "text": self.state,
            "visible": list(self.visible(self._state)), "hidden": self._hidden,
            "verdicts": [list(row) for row in rows], "view": view,
        }  # fmt: skip

    def _guesses(self) -> State:
        return {question.name: self._state[question.name] for question in self.QUESTIONS}

    def _hear(self, _: object, content: Mapping[str, Any], buffers: object) -> None:
        """The browser asks whether anybody is here, to be shown a choice, or for an action.

        It says what it has been shown: it may have missed more.
        """
        if content.get("hello"):
            if content.get("seq", self._seq) != self._seq:
                self.send_state(["shown", "busy"])
            self.send({"ready": True})
        if "ask" in content:
            self._answer(content["ask"])
        name = str(content.get("action"))
        if name in self.ACTIONS:
            act: Callable[[], None] = getattr(self, name)
            act()

    # -- standing still ----------------------------------------------------------------------------

    def __repr__(self) -> str:
        state = f"{self.state!r}" if self.state else ""
        return f"{type(self).__name__}({state})"

    def static(self) -> Picture:
        """What is left where no kernel answers, and in print: the picture, and its text."""
        if self._hidden:
            asks = [question.ask.label for question in self.QUESTIONS]
            return Picture("", "\n".join([repr(self), "Predict first:", *asks]))
        return Picture(self._view.still(), f"{self!r}\n{self._view.printed()}")

    def _repr_mimebundle_(
        self, **kwargs: Any
    ) -> tuple[dict[str, object], dict[str, object]] | None:
        live = super()._repr_mimebundle_(**kwargs)
        if live is None:
            return None
        data, metadata = live
        still = self.static()
        html = picture(still.svg, RUN_IT) if still.svg else ""
        return data | bundle(still.text, html), metadata


def _complaint(error: BaseException) -> str:
    """In one line, for the reader of the page."""
    if isinstance(error, KeyboardInterrupt):
        return "The kernel was interrupted: choose again."
    return f"{type(error).__name__}: {error}"


def _text_of(shown: Mapping[str, Any]) -> str:
    """As JSON, with the text of its view as that was made."""
    head = json.dumps({name: value for name, value in shown.items() if name != "view"})
    return f'{head[:-1]}, "view": {shown["view"].packed}}}'
