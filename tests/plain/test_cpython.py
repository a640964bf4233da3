"""CPython's own tests of selectors and asyncio pass on the simulated kernel, but for a few."""

import importlib.util
import sys
from collections import Counter

import pytest
from oracles.cpython import names_of, result_of

if importlib.util.find_spec("test.test_asyncio") is None:
    pytest.skip("this Python was installed without its own tests", allow_module_level=True)
if sys.platform != "linux":
    pytest.skip("what is simulated is Linux's", allow_module_level=True)

MODULES = {  # and how many of their tests pass, at least, on every Python from 3.11 on
    "test.test_selectors": 70, "test.test_asyncio.test_streams": 60,
    "test.test_asyncio.test_sock_lowlevel": 27, "test.test_asyncio.test_queues": 44,
    "test.test_asyncio.test_locks": 70, "test.test_asyncio.test_taskgroups": 35,
    "test.test_asyncio.test_timeouts": 32, "test.test_asyncio.test_waitfor": 15,
    "test.test_asyncio.test_threads": 6, "test.test_asyncio.test_selector_events": 108,
    "test.test_asyncio.test_server": 1, "test.test_asyncio.test_runners": 23,
    "test.test_asyncio.test_transports": 7, "test.test_asyncio.test_protocols": 5,
    "test.test_asyncio.test_buffered_proto": 1,
}  # fmt: skip

#: Which do not pass, by the end of their names, and why.
KNOWN = {
    "test_modify_unregister": "mock.patch changes the module that everybody else imports",
    "test_write_exception": "mock.patch, as above",
    "test_asyncio_run_debug": "mock.patch, as above",
    "test_sendto_exception": "mock.patch, as above",
    "test_unregister_after_fd_close_and_reuse": "dup2(2) is not simulated",
    "test_read_all_from_pipe_reader": "a file object of a simulated pipe (os.fdopen) is not",
    "test_register_file": "files are not simulated",
    "test_recvfrom": "the program's own UDP sockets are not simulated",
    "test_recvfrom_into": "nor are they here",
    "test_sendto_blocking": "nor here",
    "test_sock_connect_resolve_using_socket_params": "it looks up a name: there is only localhost",
}


#: Which are not tried: in virtual time they would take minutes.
TIMELESS = {
    "test_interrupt_call_soon": "a tenth of a second with a selector that is a mock: it makes no "
    "call, and only looks at the clock",
    "test_interrupt_wait": "another one",
}


@pytest.mark.parametrize("module", MODULES)
def test_its_own_tests_pass(module: str) -> None:
    results = {
        name: result_of(module, name)
        for name in names_of(module)
        if name.partition(".")[2] not in TIMELESS
    }
    wrong = {
        name: said
        for name, said in results.items()
        if said != "ok" and not said.startswith("skip: ") and name.partition(".")[2] not in KNOWN
    }
    assert wrong == {}
    assert Counter(results.values())["ok"] >= MODULES[module]


def test_a_fault_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A selector that never says that a socket can be written to."""
    from iosim.plain import readiness

    monkeypatch.setattr(readiness, "KNOWN", readiness.KNOWN & ~4)
    assert result_of("test.test_selectors", "EpollSelectorTestCase.test_select") != "ok"
