"""What `import` means for the plain code of one run.

A `Floor` has the lowest modules, which are others for this run; the library's modules that stand on
them are executed anew, each from its own text, and so are installed packages that make calls, if
they are written in Python; some are refused; all else is what it is.
"""

from __future__ import annotations

import builtins
import enum
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any, NoReturn

from ..calls import Request
from .numbers import Numbers
from .run import NotSimulated, Run

__all__ = ["LIBRARY", "Floor", "Refused", "World", "is_own", "like", "top_of"]

LIBRARY = sys.stdlib_module_names - {"__main__"}


@dataclass(frozen=True)
class Floor:
    """`modules`: how each of the lowest ones is made for a world.

    library  modules, and packages with all that is in them, to be executed anew on them
    refused  what cannot be had, and what it is called: ImportError
    watched  what is done with a module once it was executed
    builtin  functions that are everywhere, and are others here
    in_c     twins of the library's modules that stand on another floor: the text in Python does
    beware   what is done before something runs that may have got hold of the real modules
    refuses  are the library's other modules that make calls refused?
    in_order are sets in another order than that of addresses, so that all runs are alike?
    """

    modules: Mapping[str, Callable[[World], ModuleType]]
    library: frozenset[str]
    refused: Mapping[str, str] = field(default_factory=dict)
    builtin: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    in_c: frozenset[str] = frozenset()
    watched: Mapping[str, Callable[[World, ModuleType], None]] = field(default_factory=dict)
    refuses: bool = False
    in_order: bool = False
    beware: Callable[[], object] = lambda: None


IN_PYTHON, PARTLY_IN_C = "in Python", "partly in C"  # an installed package that makes calls
#: What makes calls, if a module has it by name.
CALLING = frozenset(("socket", "select", "selectors", "ssl", "http.client", "socketserver"))
#: Modules that are used for other things: the name of this machine, logs in files; `suppress`.
HARMLESS = frozenset(("contextlib", "email.utils", "logging.handlers", "random"))
#: By these a module opens files; these do so by themselves.
FILES, FILES_IN_C = frozenset(("io", "_io", "os")), frozenset(("dbm", "sqlite3"))
PLAIN_OF_OURS = ("iosim.echo", "iosim.exercises")  # plain code, as anybody's
#: Their names are what they were made, unless a program has changed them.
SIMPLE = frozenset(("socket", "selectors", "queue"))
#: They make enumerations of their constants, by `IntEnum._convert_`.
CONVERTING = frozenset(("socket", "signal"))
#: They have no floor, and others than the program have to do with what is in them.
SHARED = frozenset(
    ("asyncio.exceptions", "asyncio.log", "asyncio.constants", "asyncio.format_helpers")
)


class World:
    """The modules that the plain code of `run` imports, on `floor`.

    `builtins` has its own `__import__`.

    It can serve one run after the other: see `as_new`.
    """

    run: Run

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.default_timeout: float | None = None
        self.modules: dict[str, ModuleType] = {}
        self._content: dict[str, dict[str, object]] = {}  # of the modules, as they were made
        self._importing = 0
        self._has_packages = False  # that were executed anew
        self._numbers = Numbers()
        self._enum = _enumerations(self)
        self.builtins = {**vars(builtins), **floor.builtin, "__import__": self._import}

    def begin(self, run: Run) -> None:
        """The next run is this one."""
        self.run = run
        self._numbers.begin()

    def as_new(self) -> bool:
        """Is it as if nothing had run in it: no threads, and no module was changed?"""
        if self.run.had_threads or self._has_packages:  # what has changed in these, nobody knows
            return False
        self.default_timeout = None
        if "asyncio" in self.modules:
            vars(self.modules["asyncio.events"])["_set_running_loop"](None)
        return all(vars(self.modules[name]) == was for name, was in self._content.items())

    def call(self, request: Request, run: Run | None = None) -> Any:
        """Make the call, in the run that is on, or in `run`; an import only looks what there is."""
        if self._importing:
            request.number = 0  # it is not forgotten
            return 0
        return (run or self.run).call(request)

    def knows(self, name: str) -> bool:
        """Is the module of this name another one here?"""
        top = top_of(name)
        floor = self.floor
        standing = floor.modules, floor.library, floor.refused, floor.in_c
        return name not in SHARED and (
            any(top in names for names in standing) or self._is_anew(top)
        )

    def _is_anew(self, top: str) -> bool:
        """Is it a package that is executed anew?  Of one that cannot be, real calls are refused."""
        kind = _package(top)
        if kind == PARTLY_IN_C or _has_to_do_with_files(top):
            self.floor.beware()
        return kind == IN_PYTHON

    def made_before(self, kind: type) -> None:
        """The program has an instance of this class, and what that calls may be real."""
        if _package(top_of(kind.__module__)):
            self.floor.beware()

    def refuses(self, name: str) -> bool:
        """Is it a module that would make real calls: one that is not executed anew, as smtplib?"""
        return self.floor.refuses and not self.knows(name) and _makes_calls(name)

    def load(self, name: str) -> ModuleType:
        """The module `name` of this world.  ImportError for one that is refused."""
        found = self.modules.get(name)
        return self._make(name) if found is None else found

    def _make(self, name: str) -> ModuleType:
        top, floor = top_of(name), self.floor
        if name in SHARED:
            made = self.modules[name] = importlib.import_module(name)
        elif name in floor.modules:
            made = self.modules[name] = floor.modules[name](self)
            self._content[name] = dict(vars(made))
        elif top in floor.modules:  # os.path
            made = sys.modules[name]
        elif top in floor.refused:
            raise ImportError(f"{floor.refused[top]} is not simulated")
        elif top in floor.in_c:
            raise ImportError(f"{name} is written in C")
        else:
            made = self.execute(name)
            if name in SIMPLE:
                self._content[name] = dict(vars(made))
        return made

    def execute(self, name: str) -> ModuleType:
        """Execute the library's own text, on this world's floor."""
        parent, _, child = name.rpartition(".")
        above = self.load(parent) if parent else None
        if name in self.modules:  # its package has imported it
            return self.modules[name]
        spec, code = _text(name, tuple(above.__path__) if above is not None else None)
        made = importlib.util.module_from_spec(spec)
        self._has_packages |= self._is_anew(top_of(name))
        vars(made)["__builtins__"] = self.builtins
        self.modules[name] = made
        if above is not None:  # at once: in a circle, CPython would look into sys.modules
            setattr(above, child, made)
        self._importing += 1
        try:
            exec(code, vars(made))
        except BaseException:
            del self.modules[name]
            raise
        finally:
            self._importing -= 1
        if hasattr(made, "__path__"):
            vars(made).setdefault("__getattr__", functools.partial(self._child, name))
        if name in self.floor.watched:
            self.floor.watched[name](self, made)
        for value in [*vars(made).values()]:
            if isinstance(value, type) and value.__module__ == name:
                self.number(value)
        return made

    def number(self, kind: type) -> None:
        """See to it that sets of what is of this class are in one order."""
        if self.floor.in_order:
            self._numbers.give(kind, lambda: self._importing > 0)

    def _child(self, package: str, name: str) -> ModuleType:
        """`package.name`, which the program has imported before the run."""
        if f"{package}.{name}" not in sys.modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return self.load(f"{package}.{name}")

    def _import(
        self, name: str, globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, object] | None = None, fromlist: Sequence[str] = (), level: int = 0,
    ) -> ModuleType:  # fmt: skip
        """As `builtins.__import__`."""
        package = (globals or {}).get("__package__") or ""
        whole = importlib.util.resolve_name("." * level + name, package) if level else name
        if whole == "enum" and (globals or {}).get("__name__") in CONVERTING:
            return self._enum
        if not self.knows(whole):
            made = builtins.__import__(name, globals, locals, fromlist, level)
            by_program = globals is None or is_own(globals.get("__name__"))
            if by_program and self.refuses(whole):
                raise ImportError(f"{whole} is not simulated")
            if not self.knows(whole):  # it is a package that makes calls, and was not loaded yet
                return made
        if whole in self.floor.refused and self._is_anew(top_of((globals or {}).get("__name__"))):
            return Refused(whole, f"{self.floor.refused[whole]} is not simulated")
        module = self.load(whole)
        if not fromlist:
            return self.load(top_of(whole))
        if hasattr(module, "__path__"):
            for each in fromlist:
                if each != "*" and not hasattr(module, each):
                    self._import_child(module, each)
        return module

    def _import_child(self, package: ModuleType, name: str) -> None:
        try:
            setattr(package, name, self.load(f"{package.__name__}.{name}"))
        except ModuleNotFoundError:  # it is no module: whoever asked says so
            return


class Refused(ModuleType):
    """A module that is not simulated: to use it says so."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _NotThere(f"{self.__name__}.{name}: {self.__doc__}")


class _NotThere(NotSimulated, AttributeError):
    """By this an import of names fails with the ImportError that packages are prepared for."""


def top_of(module: str | None) -> str:
    """The package that a module belongs to: "asyncio" of asyncio.events."""
    return (module or "").partition(".")[0]


@functools.cache
def is_own(module: str | None) -> bool:
    """Is the module of this name the program's own: neither the library's, nor installed?"""
    top = top_of(module)
    if top == "iosim":
        return (module or "").startswith(PLAIN_OF_OURS)
    if not top or top in LIBRARY:
        return False
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


@functools.cache
def _makes_calls(name: str) -> bool:
    """Is it a module of the library that has one by which it makes calls?"""
    if top_of(name) not in LIBRARY or name in HARMLESS:
        return False
    values = vars(sys.modules[name]).values() if name in sys.modules else ()
    calling = CALLING | {"subprocess"}
    return any(isinstance(one, ModuleType) and one.__name__ in calling for one in values)


def _package(top: str) -> str:
    """Of an installed package, or module, that makes calls: is it `IN_PYTHON`, or `PARTLY_IN_C`?

    It is what the packages are through which it makes them, too.  "" of any other.
    """
    if top not in sys.modules or top in LIBRARY or top == "iosim" or is_own(top):
        return ""
    if top not in _packages:
        _packages[top] = ""  # if it imports itself in a circle
        parts = _parts(top)
        values = (value for part in parts for value in [*vars(part).values()])
        files = [getattr(part, "__file__", None) or "" for part in parts]
        kinds = set(map(_calls_by, set(map(_origin, values))))
        in_c = PARTLY_IN_C in kinds or not all(file.endswith(".py") for file in files)
        if kinds != {""}:
            _packages[top] = PARTLY_IN_C if in_c else IN_PYTHON
    return _packages[top]


_packages: dict[str, str] = {}


def _parts(top: str) -> list[ModuleType]:
    """The module or package of this name, with all of it that is loaded."""
    inner = f"{top}."
    return [sys.modules[name] for name in [*sys.modules] if f"{name}.".startswith(inner)]


def _has_to_do_with_files(top: str) -> bool:
    """Is it a module of the library that could open one?"""
    return top in LIBRARY and top in sys.modules and top not in HARMLESS and _opens_files(top)


@functools.cache
def _opens_files(top: str) -> bool:
    names = (one.__name__ for part in _parts(top) for one in [*vars(part).values()]
             if isinstance(one, ModuleType))  # fmt: skip
    return top in FILES_IN_C or not FILES.isdisjoint(names)


def _origin(value: object) -> str:
    """The module that it is, or that a function or class comes from."""
    if isinstance(value, ModuleType):
        return value.__name__
    return value.__module__ or "" if isinstance(value, type | FunctionType) else ""


def _calls_by(module: str) -> str:
    return IN_PYTHON if module in CALLING else _package(top_of(module))


@functools.cache
def _text(name: str, path: tuple[str, ...] | None) -> tuple[ModuleSpec, CodeType]:
    """Where a module of the library comes from, and its code, compiled once."""
    spec = PathFinder.find_spec(name, path) or getattr(sys.modules.get(name), "__spec__", None)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return spec, spec.loader.get_code(name)  # type: ignore[union-attr]


def _enumerations(world: World) -> ModuleType:
    """`enum`, whose `_convert_` would change the names of the module that others import.

    The enumerations are those that the library has made there: their members are everybody's.
    """

    def convert(name: str, module: str, *_: object, **__: object) -> type[enum.Enum]:
        made: type[enum.Enum] = getattr(importlib.import_module(module), name)
        vars(world.modules[module]).update({name: made}, **made.__members__)
        return made

    converts = SimpleNamespace(_convert_=convert)
    return like(enum, IntEnum=converts, IntFlag=converts)


def like(module: ModuleType, **changed: object) -> ModuleType:
    """A module with all that is in another one, and `changed`."""
    made = ModuleType(module.__name__, module.__doc__)
    vars(made).update(vars(module))
    vars(made).update(changed)
    return made
