"""`make test` says what it does, in order, and is red if one of its steps is."""

import re
from pathlib import Path

import pytest
import suite
from suite import Step

MEET = """
import sys, time
from pathlib import Path
Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    time.sleep(0.01)
print("met")
"""
GOOD, BAD = "-c 'print(1)'", "-c 'raise SystemExit(3)'"


def said(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Its lines, without their times."""
    return [re.sub(r"\d+ s", "_ s", line) for line in capfd.readouterr().out.splitlines()]


def test_a_step_has_its_number_and_says_what_it_is_for(capfd: pytest.CaptureFixture[str]) -> None:
    assert suite.run([[Step("a", "one is one", GOOD)], [Step("b", "and again", GOOD)]]) == 0
    assert said(capfd) == [
        "[1/2] a: one is one ...",
        "1",
        "[1/2] a: holds, _ s",
        "[2/2] b: and again ...",
        "1",
        "[2/2] b: holds, _ s",
        "everything holds; _ s in all",
    ]


def test_all_steps_run_and_those_that_do_not_hold_are_named_at_the_end(
    capfd: pytest.CaptureFixture[str],
) -> None:
    rows = [[Step("a", "x", BAD), Step("b", "y", GOOD)], [Step("c", "z", BAD)]]
    assert suite.run(rows) == 3
    lines = said(capfd)
    assert "[1/3] a: FAILED (3), _ s" in lines
    assert "[2/3] b: holds, _ s" in lines
    assert "[3/3] c: FAILED (3), _ s" in lines
    assert lines[-1] == "does not hold: a, c; _ s in all"


def test_what_failed_is_told_again_at_the_end(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of pytest's pages only what is wrong; of another tool its last lines."""
    test = tmp_path / "test_one.py"
    test.write_text("def test_it():\n    print(9)\n    assert 1 + 1 == 3, 'not so'\n")
    pytest_, tool = f"-m pytest -p no:cacheprovider '{test}'", "-c 'print(5); raise SystemExit(1)'"
    assert suite.run([[Step("a", "x", pytest_)], [Step("b", "y", tool), Step("c", "z", GOOD)]])
    lines = said(capfd)
    again = lines[lines.index("--- a, what failed:") :]
    assert again[1].strip("_ ") == "test_it"
    assert again[2:4] == ["E       AssertionError: not so", "E       assert (1 + 1) == 3"]
    assert again[4].startswith("FAILED ")
    assert again[5:] == ["--- b, what failed:", "5", "does not hold: a, b; _ s in all"]


def test_the_lines_of_two_that_run_at_once_say_whose_they_are(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """They do run at once: each waits for a file that the other one makes."""
    script = tmp_path / "meet.py"
    script.write_text(MEET)
    meet = f"'{script}' {{}} {{}}"
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    row = [Step("a", "x", meet.format(here, there)), Step("b", "y", meet.format(there, here))]
    assert suite.run([row]) == 0
    assert {"        a | met", "        b | met"} <= set(said(capfd))


@pytest.mark.parametrize(("told", "status"), [(3, 0), (4, 1)])
def test_the_steps_together_may_have_one_in_a_hundred_inconclusive(
    capfd: pytest.CaptureFixture[str], told: int, status: int
) -> None:
    def counts(line: str) -> str:
        return f'-c \'import os; open(os.environ["IOSIM_TALLY"], "a").write("{line}\\n")\''

    rows = [[Step("a", "x", counts("290 0"))], [Step("b", "y", counts(f"10 {told}"))]]
    assert suite.run(rows) == status
    words = "too many" if status else "allowed"
    verdict = "does not hold: inconclusive" if status else "everything holds"
    assert said(capfd)[-2:] == [
        f"{told} of 300 inconclusive ({words}: at most 3)",
        f"{verdict}; _ s in all",
    ]


def test_only_the_named_steps_run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    row = [Step("a", "x", GOOD), Step("b", "y", GOOD)]
    monkeypatch.setattr(suite, "STEPS", [row, [Step("c", "z", BAD)]])
    assert suite.main(["b"]) == 0
    assert said(capfd)[0] == "[1/1] b: y ..."
    with pytest.raises(SystemExit):
        suite.main(["d"])
    assert "no such step: d; there are a, b, c" in capfd.readouterr().err


def test_no_test_is_left_out_and_the_bound_of_coverage_holds_over_all_of_them() -> None:
    """What one step leaves out, another one has."""
    arguments = {step.name: step.arguments for row in suite.STEPS for step in row}
    tests = [text for text in arguments.values() if "-m pytest" in text]
    assert "-m 'not real'" in arguments["simulated"]
    assert "--ignore=tests/browser" in suite.TESTS
    assert arguments["real"].startswith(f"{suite.TESTS} -m real ")
    ends = {"simulated": "--cov-report=", "real": "--cov-append --cov-fail-under=95"}
    for name, end in ends.items():
        assert arguments[name].endswith(end) == suite.TOLD
    assert "--numprocesses" not in arguments["real"]
    assert list(arguments).index("simulated") < list(arguments).index("real")
    assert "-m pytest --nbval notebooks" in tests
    opened = arguments["opened"].removeprefix("-m pytest ").split()
    assert arguments["browser"].split()[3:] == [f"--ignore={path}" for path in opened]
