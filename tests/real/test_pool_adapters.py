"""The pools of the library behind one face."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from iosim.real.pool_adapters import OpenPool

pytestmark = pytest.mark.real
JOBS = 300


class _Counted(Future[object]):
    looks = 0

    def done(self) -> bool:
        _Counted.looks += 1
        return super().done()


def test_a_job_is_handed_in_without_a_look_at_all_those_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of n jobs that wait it cost n² / 2 looks: 5,000 took 21 s."""
    monkeypatch.setattr("concurrent.futures.thread._base.Future", _Counted)
    pool, go = OpenPool("ThreadPoolExecutor", 1, None), threading.Event()
    try:
        _Counted.looks = 0
        handles = [pool.pool.submit(lambda *_: None, go.wait) for _ in range(JOBS)]
        assert 0 < _Counted.looks <= 2 * JOBS
        go.set()
        pool.pool.wait(handles, 30)
        assert all(map(pool.pool.done, handles))
    finally:
        go.set()
        pool.close(at_once=True)
