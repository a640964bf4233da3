"""Which faults are planted, and which tests are asked about them: `make mutants`."""

from pathlib import Path
from types import SimpleNamespace as Node

import mutants
import pytest
from mutants import Drop, Mutant, Seen

SOURCE = """\
LIMIT = 3


@decorated
def work(task, ns=1):
    if (task.mode
            and ns):
        task.mode = (
            1
        )
    elif ns:
        try:
            pass
        except ValueError:
            ns = 2
    return ns


class Kind:
    size = 4

    def half(self):
        return self.size // 2
"""


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        (1, None),  # a constant: whoever uses the module may depend on it
        (5, None),  # and a default
        (6, range(6, 8)),  # the head of an if, all of it
        (7, range(6, 8)),
        (9, range(8, 11)),
        (11, range(11, 12)),  # an elif
        (14, range(12, 15)),  # an except clause is found by who tries
        (15, range(15, 16)),
        (16, range(16, 17)),
        (20, None),
        (23, range(23, 24)),
    ],
)
def test_a_statement_is_executed_as_a_whole_or_when_it_is_imported(
    line: int, lines: range | None
) -> None:
    assert mutants.statement(SOURCE, line) == lines


def test_those_that_execute_it_and_passed_are_asked_fastest_first() -> None:
    seen = Seen(
        ["slow", "fast", "other", "failed", "third"],
        {"a.py": {"7": [0, 1], "8": [2, 3], "9": [4]}},
        {"slow": 2.0, "fast": 0.1, "other": 0.5, "third": 0.2},
    )
    assert seen.of("a.py", range(7, 9)) == ["fast", "other", "slow"]
    assert seen.of("a.py", None) == ["fast", "third", "other", "slow"]
    assert seen.of("b.py", None) == []
    tests = seen.of("a.py", None)
    assert [len(mutants._within(tests, seen.seconds, most)) for most in (0, 0.4, 0.9, 9)] == [
        1, 2, 3, 4,
    ]  # fmt: skip


def test_each_line_is_as_likely_as_another_and_a_seed_gives_the_same_again() -> None:
    many = [Mutant("a.py", "x", number, 1) for number in range(100)]
    few = [Mutant("a.py", "y", 0, line) for line in range(2, 12)]
    chosen = mutants.sample(many + few, 11, seed=5)
    assert sorted(each.line for each in chosen) == [*range(1, 12)]
    assert len(mutants.sample(many + few, 99, seed=5)) == 11
    assert mutants.sample(few + many, 4, seed=5) == mutants.sample(few + many, 4, seed=5)
    assert mutants.sample(few, 4, seed=5) != mutants.sample(few, 4, seed=6)


def test_what_changed_are_the_new_lines_of_a_diff() -> None:
    diff = """\
diff --git a/iosim/a.py b/iosim/a.py
--- a/iosim/a.py
+++ b/iosim/a.py
@@ -3,0 +4,2 @@ def f():
+x
+y
@@ -9 +11 @@
-z
+z2
@@ -20,2 +21,0 @@
-gone
"""
    assert mutants.changed(diff) == {("iosim/a.py", line) for line in (4, 5, 11)}


def statement_of(kind: str, *parts: str) -> Node:
    """A line as parso tells it: a statement of that kind, of parts ("=" is an operator)."""
    children = [
        Node(type="operator", value=part) if part.endswith("=") else Node(type=part)
        for part in parts
    ]
    said = Node(type=kind, children=children, start_pos=(1, 0), end_pos=(1, 9))
    return Node(type="simple_stmt", children=[said])


@pytest.mark.parametrize(
    ("node", "dropped"),
    [
        (statement_of("expr_stmt", "power", "="), True),  # task.mode = ...
        (statement_of("expr_stmt", "name", "+="), True),
        (statement_of("expr_stmt", "name", "="), False),  # whose name would be missing
        (statement_of("expr_stmt", "name", "annassign"), False),
        (statement_of("atom_expr"), True),  # a call
        (statement_of("raise_stmt"), True),
        (statement_of("return_stmt"), False),
        (statement_of("string"), False),  # a docstring
    ],
)
def test_what_is_left_out_is_what_acts_elsewhere(node: Node, dropped: bool) -> None:
    assert len(list(Drop().mutation_positions(node))) == dropped


def test_faults_are_planted_where_something_depends_on_them() -> None:
    """With the tool itself, where it is installed."""
    pytest.importorskip("cosmic_ray")
    source = "def half(n: int | None = 4) -> int | None:\n    log(n)\n    return n | 2\n"
    operators = mutants._operators()
    found = mutants.mutants_of("a.py", source, operators)
    told = {(str(each).split(":")[2], each.line) for each in found}
    assert told == {
        ("NumberReplacer", 1), ("drop", 2), ("ReplaceBinaryOperator_BitOr_BitAnd", 3),
        ("NumberReplacer", 3),
    }  # fmt: skip
    from cosmic_ray.mutating import mutate_code

    assert "    pass\n" in mutate_code(source, operators["drop"], 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def test(): pass", "survived"),
        ("def test(): assert 0", "killed"),
        ("def test():\n    while True: pass", "timeout"),
        ("x = 0", "unclear"),
        ("import nothing_of_the_kind", "killed"),
    ],
)
def test_a_run_says_what_became_of_it(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "HANGS_S", 2)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfaulthandler_exit_on_timeout = true\n")
    (tmp_path / "test_it.py").write_text(text)
    assert mutants.verdict(tmp_path, ["test_it.py"], 0).partition(":")[0] == said


def test_a_planted_file_is_as_before_and_no_bytecode_is_left(tmp_path: Path) -> None:
    """Of the same length and the same second, it would pass for the other text's."""
    file = tmp_path / "it.py"
    file.write_text("x = 1\n")
    compiled = Path(mutants.cache_from_source(str(file)))
    compiled.parent.mkdir()
    compiled.touch()
    with mutants.planted(tmp_path, Mutant("it.py", "x", 0, 1), "x = 2\n"):
        assert file.read_text() == "x = 2\n"
        assert not compiled.exists()
        compiled.touch()
    assert file.read_text() == "x = 1\n"
    assert not compiled.exists()
