"""The process that sends the messages of a story of traffic."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress

from ..workloads.traffic import Traffic
from .helper_process import HelperProcess
from .helpers.plans import Scheduled, SenderPlan

__all__ = ["SenderProcess"]


class SenderProcess(HelperProcess):
    """The process that sends: `helpers.sender`, told what to send, waiting for the start."""

    runs, name = ("-m", f"{__package__}.helpers.sender"), "the sender"

    def prepare(self, story: Traffic, ports: list[int], announces: bool = False) -> list[int]:
        """Tell it what to send; its ends of the connections, once they are made.

        announces  does it say when its story is over?

        `HelperError` if it cannot make them.
        """
        count = len(story.messages)
        self._task = f"send {count:,} message{'s'[: count != 1]} over {story.transport}"
        self._let_look()
        schedule: list[Scheduled] = [
            (number, m.at_ns, m.size, m.connection, m.kind, m.content.decode("latin-1"))
            for number, m in enumerate(story.messages, start=1)
        ]
        plan: SenderPlan = {
            "transport": story.transport, "ports": ports, "schedule": schedule,
            "thread": (os.getpid(), threading.get_native_id()), "stepwise": story.stepwise,
            "announces": announces,
        }  # fmt: skip
        self._tell(json.dumps(plan))
        made: list[int] = self._answer()
        return made

    def tell(self, word: bytes) -> None:
        """What the program is about to do: see `gate`.  That the sender is gone shows elsewhere."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            os.write(self._process.stdin.fileno(), word)
