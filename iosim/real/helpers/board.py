"""What the threads of a server are at: a table in memory that the clients' process reads.

Each thread has a cell that only it writes: a word, what the word is about, and a number that is
another one each time.  So who reads it twice knows whether the thread has gone on meanwhile.  To
write is one store: the server makes no call for it, and wakes nobody.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable

__all__ = ["SIZE", "Board", "Onlooker"]

RUNS = 0  # its own code, or a call that does not wait
SLEEPS = 1  # it is in a call that may sleep: /proc tells whether it does
WORKS = 2  # it computes, and notices nothing
JOINS = 3  # it waits for the end of the thread that this is about
POLLS = 4  # it has asked in vain for so many rounds, one after another
ENDED = 5

THREADS = 1 << 16  # a thread with a higher number is not seen, and nobody waits for it
WORD, ABOUT = 4, 28  # bits of a cell; the rest is the number
MOST = (1 << ABOUT) - 1
SIZE = 8 * (1 + 2 * THREADS)
ROUNDS = 2  # the first one in vain may have begun before the last act of a client
BLIND_NS = 2_000_000  # what cannot be seen is believed, so much later

Row = tuple[int, int, int, int]  # a thread's word, what that is about, its number, the native one


class Board:
    """The table in the file `fd`, whose first cell says how many threads there are."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, SIZE)
        self._cells = memoryview(self._memory).cast("Q")

    def close(self) -> None:
        """Let the memory go."""
        self._cells.release()
        self._memory.close()

    def begin(self, thread: int) -> None:
        """There is a thread more, which runs: from now on it is waited for."""
        if thread < THREADS:
            self.say(thread, 0, RUNS)
        self._cells[0] = max(self._cells[0], thread + 1)

    def is_native(self, thread: int, native: int) -> None:
        """The number of the thread in /proc."""
        if thread < THREADS:
            self._cells[2 + 2 * thread] = native

    def end(self, thread: int) -> None:
        """It is over, and nobody waits for it any more."""
        self.say(thread, 0, ENDED)

    def say(self, thread: int, number: int, word: int, about: int = 0) -> None:
        """What the thread is at, as it says for the time `number`."""
        if thread < THREADS:
            self._cells[1 + 2 * thread] = (number << ABOUT | min(about, MOST)) << WORD | word

    def read(self) -> list[Row] | None:
        """All threads, by their numbers; None if they are too many."""
        count = self._cells[0]
        if count > THREADS:
            return None
        cells = self._cells[1 : 1 + 2 * count].tolist()
        return [
            (told & ((1 << WORD) - 1), told >> WORD & MOST, told >> WORD + ABOUT, native)
            for told, native in zip(cells[::2], cells[1::2], strict=True)
        ]


class Onlooker:
    """Do all threads of the server wait?

    asleep  does the thread of this native number sleep in a call?  None where that is not shown.
    clock   ns, for what is not shown
    """

    def __init__(
        self, board: Board, asleep: Callable[[int], bool | None], clock: Callable[[], int]
    ) -> None:
        self._board, self._asleep, self._clock = board, asleep, clock
        self._seen: tuple[list[Row], int] = [], 0  # the board, and since when it is so
        self._numbers: list[int] = []  # of the threads' words when a client acted last

    def all_wait(self) -> bool:
        """At some instant of this look, all of them did.

        They are looked at twice.  Who slept both times and has said nothing meanwhile slept in
        between: no thread was woken by another that was looked at later.
        """
        rows = self._board.read() or []
        if rows != self._seen[0]:
            self._seen = rows, self._clock()
        looks = (self._waits(thread, rows) for _ in range(2) for thread in range(len(rows)))
        return rows != [] and all(looks) and _as_before(rows, self._board.read() or [])

    def acted(self) -> None:
        """A client has done something: who polls has to look again."""
        self._numbers = [row[2] for row in self._board.read() or ()]

    def _waits(self, thread: int, rows: list[Row]) -> bool:
        word, about, number, native = rows[thread]
        if word == SLEEPS:
            asleep = self._asleep(native)
            return self._clock() - self._seen[1] > BLIND_NS if asleep is None else asleep
        if word == JOINS:  # which is a futex, as is the wait for the interpreter's lock
            return rows[about][0] != ENDED
        if word == POLLS:
            before = self._numbers[thread] if thread < len(self._numbers) else 0
            return about >= ROUNDS and number >= before + ROUNDS
        return word in (WORKS, ENDED)


def _as_before(rows: list[Row], later: list[Row]) -> bool:
    """Has nobody said anything but that it polls on?"""
    return list(map(_constant, rows)) == list(map(_constant, later))


def _constant(row: Row) -> tuple[int, ...]:
    word, about, number, native = row
    return (word, number - about, native) if word == POLLS else row
