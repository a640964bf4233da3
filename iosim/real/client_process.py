"""The process that is all the clients of a story."""

from __future__ import annotations

import json
import os

from ..workloads.clients import SEND, Clients
from .helper_process import HelperProcess
from .helpers.plans import ClientsPlan, Script

__all__ = ["ClientProcess"]


class ClientProcess(HelperProcess):
    """The process of the clients: `helpers.clients`, told their scripts, waiting for the start."""

    runs, name = ("-m", f"{__package__}.helpers.clients"), "the process of the clients"

    def prepare(
        self, story: Clients, port: int, board: int | None = None, *, announces: bool = False
    ) -> list[int]:
        """Tell it what to do; the ports that the clients will call from.

        board      the descriptor of the file in which the server says what it is at; None: no
                   client waits for it
        announces  does it say when its story is over?

        `HelperError` if it cannot make their sockets.
        """
        self._task = f"be {len(story):,} client{'s'[: len(story) != 1]}"
        scripts, number = list[Script](), 1
        for client in story.clients:
            scripts.append((client.at_ns, client.rcvbuf, number, client.steps))
            number += sum(kind == SEND for kind, _ in client.steps)
        self._let_look()
        plan: ClientsPlan = {
            "port": port, "clients": scripts, "stepwise": story.stepwise, "board": board,
            "process": os.getpid(), "announces": announces,
        }  # fmt: skip
        self._tell(json.dumps(plan))
        made: list[int] = self._answer()
        return made
