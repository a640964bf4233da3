"""A program's own functions and classes, as they are in the world of one run.

A function is made anew, from the same code, with other globals: those in which `socket` is the
world's `socket`.  So are the classes, methods and closures that it reaches; whatever reaches
nothing simulated stays what it is.  Nobody else's names are changed.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from opcode import opmap
from typing import Any, TypeGuard, TypeVar

from .run import NotSimulated
from .world import LIBRARY, Refused, World, is_own, top_of

__all__ = ["adopt"]

T = TypeVar("T")
Names = dict[str, object]  # of a module, with their values
IMPORT = opmap["IMPORT_NAME"]  # what a function imports may be another one
CONTAINERS = (tuple, list, dict, set, frozenset)
#: Instances that a program may have made before the run, if nothing has been done with them.
FRESH: Mapping[tuple[str, str], Callable[[Any], bool]] = {
    ("_thread", "lock"): lambda lock: not lock.locked(),
    ("_thread", "RLock"): lambda lock: "owner=0" in repr(lock),
    ("threading", "_RLock"): lambda lock: not lock._count,
    ("threading", "Event"): lambda event: not event.is_set(),
    ("threading", "Condition"): lambda condition: not condition._waiters,
    ("queue", "Queue"): lambda queue: queue.empty(),
    ("queue", "LifoQueue"): lambda queue: queue.empty(),
    ("queue", "PriorityQueue"): lambda queue: queue.empty(),
    ("_queue", "SimpleQueue"): lambda queue: queue.empty(),
    ("selectors", "SelectSelector"): lambda selector: not selector.get_map(),
    ("selectors", "PollSelector"): lambda selector: not selector.get_map(),
    ("selectors", "EpollSelector"): lambda selector: not selector.get_map(),
    ("selectors", "KqueueSelector"): lambda selector: not selector.get_map(),
    ("select", "poll"): lambda poll: True,
}
MADE_BY = {  # what makes such an instance, and with which of its attributes
    "lock": ("_thread", "allocate_lock", ()), "RLock": ("threading", "RLock", ()),
    "_RLock": ("threading", "RLock", ()), "KqueueSelector": ("selectors", "DefaultSelector", ()),
    "SimpleQueue": ("queue", "SimpleQueue", ()), "poll": ("select", "poll", ()),
    **{name: ("queue", name, ("maxsize",)) for name in ("Queue", "LifoQueue", "PriorityQueue")},
}  # fmt: skip


def adopt(program: Callable[..., T], world: World, stack: ExitStack) -> Callable[..., T]:
    """`program`, as it is in `world`.  Objects whose class is another one there get it until
    `stack` is closed.  `NotSimulated` for a socket, or the like, that was made before.
    """
    adopted: Callable[..., T] = _Adoption(world, stack).adopt(program)
    return adopted


class _Adoption:
    def __init__(self, world: World, stack: ExitStack) -> None:
        self._world, self._stack = world, stack
        self._made: dict[int, Any] = {}  # by the identity of what it was made from
        self._kept: list[object] = []  # so that no identity is used again
        self._globals: dict[int, tuple[Names, Names]] = {}  # here, and as made
        self._reaching: set[int] = set()  # what is known to reach something simulated

    # -- what reaches the simulated floor ------------------------------------------------------

    def _reaches(self, thing: object) -> bool:
        """Is there a way from `thing` to something that is another one in this world?"""
        seen: set[int] = set()
        todo = [thing]
        while todo:
            one = todo.pop()
            if id(one) in self._reaching or self._is_another(one):
                self._reaching.add(id(thing))
                self._kept.append(thing)
                return True
            if id(one) not in seen:
                seen.add(id(one))
                todo += _reached_from(one)
        return False

    def _is_another(self, thing: object) -> bool:
        """Is it another one here by itself: a module, what is in one, or an instance of that?"""
        if isinstance(thing, types.ModuleType):
            return self._world.knows(thing.__name__) or self._world.refuses(thing.__name__)
        if isinstance(thing, types.CodeType):
            other = {"__import__", *self._world.floor.builtin}
            return IMPORT in thing.co_code[::2] or any(name in other for name in thing.co_names)
        return (
            _home(thing, self._world) is not None
            or _is_instance(thing, self._world)
            or self._is_refused(thing)
        )

    def _is_refused(self, thing: object) -> TypeGuard[type | types.FunctionType]:
        """Is it a function or a class of a module that is refused?"""
        kinds = type, types.FunctionType
        return isinstance(thing, kinds) and self._world.refuses(thing.__module__ or "")

    # -- what it is here -----------------------------------------------------------------------

    def adopt(self, thing: object) -> Any:
        """What `thing` is in this world."""
        if id(thing) in self._made:
            return self._made[id(thing)]
        if not self._reaches(thing):
            return thing
        if self._is_refused(thing):
            raise NotSimulated(f"{thing.__module__}.{thing.__qualname__} is not simulated")
        for kind, make in MAKERS:
            if isinstance(thing, kind):
                made = make(self, thing)
                break
        else:
            made = self._instance(thing)
        return self._remember(thing, made)

    def _remember(self, thing: object, made: T) -> T:
        self._kept.append(thing)
        self._made[id(thing)] = made
        return made

    def _module(self, module: types.ModuleType) -> types.ModuleType:
        if self._world.knows(module.__name__):
            try:
                return self._world.load(module.__name__)
            except ImportError as error:
                return Refused(module.__name__, str(error))
        if self._world.refuses(module.__name__):
            return Refused(module.__name__, "the module is not simulated")
        return self._remember(module, _ModuleHere(module, self.adopt))

    def _function(self, function: types.FunctionType) -> object:
        home = _home(function, self._world)
        if home is not None:
            return self._of_library(*home)
        code = function.__code__
        names = self._globals_of(function.__globals__)
        cells = tuple(map(self._cell, function.__closure__ or ()))
        made = types.FunctionType(code, names, function.__name__, None, cells or None)
        self._remember(function, made)
        self._fill(function.__globals__, code)
        made.__defaults__ = self.adopt(function.__defaults__)
        made.__kwdefaults__ = self.adopt(function.__kwdefaults__)
        made.__qualname__, made.__module__ = function.__qualname__, function.__module__
        made.__doc__ = function.__doc__
        made.__dict__.update((name, self.adopt(value)) for name, value in function.__dict__.items())
        return made

    def _globals_of(self, names: Names) -> Names:
        """A module's names, which its functions here share."""
        if id(names) not in self._globals:
            self._kept.append(names)
            here = {**names, "__builtins__": self._world.builtins}
            made = dict(here)
            self._globals[id(names)] = here, made
            self._stack.callback(_write_back, names, here, made)
        return self._globals[id(names)][0]

    def _fill(self, names: Names, code: types.CodeType) -> None:
        """Whatever this code may look up is what it is here."""
        here, made = self._globals[id(names)]
        for name in _names_in(code):
            if name in names and here.get(name) is names[name]:
                here[name] = made[name] = self.adopt(names[name])

    def _cell(self, cell: types.CellType) -> types.CellType:
        if id(cell) in self._made:
            made: types.CellType = self._made[id(cell)]
            return made
        try:
            value = cell.cell_contents
        except ValueError:  # empty
            return cell
        if not self._reaches(value):
            return cell
        here: types.CellType = self._remember(cell, types.CellType())
        here.cell_contents = self.adopt(value)
        return here

    def _method(self, method: types.MethodType) -> types.MethodType:
        home = method.__self__
        return types.MethodType(self.adopt(method.__func__), self.adopt(home))

    def _class(self, kind: type) -> object:
        home = _home(kind, self._world)
        if home is not None:
            return self._of_library(*home)
        bases = tuple(map(self.adopt, kind.__bases__))
        slots = set(vars(kind).get("__slots__", ()))
        names = {
            name: value
            for name, value in vars(kind).items()
            if name not in slots and name not in ("__dict__", "__weakref__")
        }
        made = type(kind)(kind.__name__, bases, names)
        self._remember(kind, made)
        for name, value in names.items():
            here = self.adopt(value)
            if here is not value:
                setattr(made, name, here)
        self._world.number(made)
        return made

    def _container(self, things: Any) -> object:
        if isinstance(things, dict):
            return type(things)((key, self.adopt(value)) for key, value in things.items())
        if isinstance(things, tuple) and hasattr(things, "_fields"):
            return type(things)(*map(self.adopt, things))
        return type(things)(map(self.adopt, things))

    def _partial(self, partial: functools.partial[T]) -> functools.partial[T]:
        named = {name: self.adopt(value) for name, value in partial.keywords.items()}
        return functools.partial(self.adopt(partial.func), *map(self.adopt, partial.args), **named)

    def _wrapper(self, thing: Any) -> object:
        return type(thing)(self.adopt(thing.__func__))

    def _property(self, thing: property) -> property:
        getter, setter, deleter = map(self.adopt, (thing.fget, thing.fset, thing.fdel))
        return property(getter, setter, deleter, thing.__doc__)

    def _instance(self, thing: object) -> object:
        """In place, until the run is over: nothing is lost that it learns."""
        home = _home(thing, self._world)
        if home is not None:
            return self._of_library(*home)
        if _is_instance(thing, self._world):
            return self._made_before(thing)
        plain, here = type(thing), self.adopt(type(thing))
        self._remember(thing, thing)
        for name, value in list(getattr(thing, "__dict__", {}).items()):
            other = self.adopt(value)
            if other is not value:
                thing.__dict__[name] = other
                self._stack.callback(_put_back, thing, name, other, value)
        if here is not plain:
            thing.__class__ = here
            self._stack.callback(setattr, thing, "__class__", plain)
        return thing

    def _made_before(self, thing: object) -> object:
        kind = type(thing)
        fresh = FRESH.get((kind.__module__, kind.__name__))
        if fresh is None or not fresh(thing):
            raise NotSimulated(f"{thing!r} was made before the run: make it in the program")
        module, name, attributes = MADE_BY.get(kind.__name__, (kind.__module__, kind.__name__, ()))
        make = getattr(self._world.load(module), name)
        return make(*(getattr(thing, attribute) for attribute in attributes))

    def _of_library(self, module: str, path: str) -> object:
        found: object = self._world.load(module)
        for part in path.split("."):
            found = getattr(found, part)
        return found


#: How things of a kind are made anew; everything else is an instance.
MAKERS: tuple[tuple[type | tuple[type, ...], Callable[[_Adoption, Any], object]], ...] = (
    (types.ModuleType, _Adoption._module), (types.FunctionType, _Adoption._function),
    (types.MethodType, _Adoption._method), (type, _Adoption._class),
    (CONTAINERS, _Adoption._container), (functools.partial, _Adoption._partial),
    ((staticmethod, classmethod), _Adoption._wrapper), (property, _Adoption._property),
)  # fmt: skip


class _ModuleHere(types.ModuleType):
    """A module of the program's own: what is asked of it is what it is in this world."""

    def __init__(self, module: types.ModuleType, here: Callable[[object], object]) -> None:
        super().__init__(module.__name__, module.__doc__)
        self._module, self._here = module, here

    def __getattr__(self, name: str) -> object:
        found = self._here(getattr(self._module, name))
        setattr(self, name, found)
        return found


# -- what is where -----------------------------------------------------------------------------


def _home(thing: object, world: World) -> tuple[str, str] | None:
    """Module and name under which the library has this function, class or bound constant."""
    if not isinstance(thing, type | types.FunctionType | types.BuiltinFunctionType):
        return None
    module, path = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    name = {"_queue": "queue", "posix": "os"}.get(module or "", module or "")
    if not name or "<" in path or not world.knows(name) or (name == "os" and not _of_os(thing)):
        return None
    found: object = sys.modules.get(name)
    for part in path.split("."):
        found = getattr(found, part, None)
    return (name, path) if found is thing or name == "queue" else None


def _of_os(thing: object) -> bool:
    return isinstance(thing, types.BuiltinFunctionType)


def _is_instance(thing: object, world: World) -> bool:
    """Is it an instance of a class of the library that is another one here?"""
    kind = type(thing)
    if issubclass(kind, type | tuple | int | Exception) or kind.__module__ == "builtins":
        return False
    if top_of(kind.__module__) not in LIBRARY:
        world.made_before(kind)
        return False
    return _home(kind, world) is not None


def _names_in(code: types.CodeType) -> Iterator[str]:
    """All names that the code, and the code of what is defined in it, may look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _reached_from(thing: object) -> list[object]:
    """What a thing of the program's own leads to, one step further."""
    if isinstance(thing, types.FunctionType):
        return _reached_from_function(thing)
    if isinstance(thing, types.CodeType):
        return [one for one in thing.co_consts if isinstance(one, types.CodeType)]
    if isinstance(thing, types.MethodType):
        return [thing.__func__, thing.__self__]
    if isinstance(thing, type):
        return [*vars(thing).values(), *thing.__bases__] if is_own(thing.__module__) else []
    if isinstance(thing, types.ModuleType):
        return list(vars(thing).values()) if is_own(thing.__name__) else []
    if isinstance(thing, CONTAINERS):
        return list(thing.values()) if type(thing) is dict else list(thing)
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, property):
        return [thing.fget, thing.fset, thing.fdel]
    if isinstance(thing, staticmethod | classmethod):
        return [thing.__func__]
    if is_own(type(thing).__module__):
        return [type(thing), *getattr(thing, "__dict__", {}).values()]
    return []


def _reached_from_function(function: types.FunctionType) -> list[object]:
    if not is_own(function.__globals__.get("__name__")):
        return []
    names = function.__globals__
    found: list[object] = [function.__code__, function.__defaults__, function.__kwdefaults__]
    found += [names[name] for name in _names_in(function.__code__) if name in names]
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # empty
            continue
    return [*found, *function.__dict__.values()]


def _write_back(names: Names, here: Names, made: Names) -> None:
    """What the program has bound to its global names, as `global` lets it."""
    names.update((name, value) for name, value in here.items() if value is not made.get(name, made))


def _put_back(thing: object, name: str, other: object, value: object) -> None:
    if thing.__dict__.get(name) is other:
        thing.__dict__[name] = value
