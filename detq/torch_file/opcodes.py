"""What each pickle opcode that torch writes does to the stack of records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from detq.torch_file.inert import Instance, ModuleClass, PickleError

KEYS = (str, int, float, bytes, type(None))


class Vocabulary(Protocol):
    """The words a pickle may use."""

    def find(self, module: str, name: str) -> object:
        """The record for a global."""

    def call(self, function: object, arguments: tuple[Any, ...]) -> object:
        """The record for a call."""

    def build(self, target: object, state: Any) -> None:
        """Put a state into a record."""

    def persistent(self, key: Any) -> object:
        """The record for something stored outside the pickle."""


@dataclass(slots=True)
class Stack:
    """The state of the machine."""

    words: Vocabulary
    top: list[Any]
    below: list[list[Any]]
    memo: dict[int, Any]

    def items(self) -> list[Any]:
        """What lies above the last mark; the mark goes."""
        above, self.top = self.top, self.below.pop()
        return above

    def last(self, kind: type[Any]) -> Any:
        """The object on top, which must be of ``kind``."""
        if type(self.top[-1]) is not kind:
            raise PickleError(f"is damaged: a {kind.__name__} was expected")
        return self.top[-1]


def _push(stack: Stack, argument: Any) -> None:
    stack.top.append(argument)


def _push_int(stack: Stack, argument: int) -> None:
    if not -(2**63) <= argument < 2**63:
        raise PickleError("is damaged: an integer of more than 64 bits")
    stack.top.append(argument)


def _fresh(make: Callable[[], Any]) -> Callable[[Stack, Any], None]:
    return lambda stack, _: stack.top.append(make())


def _nothing(stack: Stack, argument: Any) -> None:
    """Framing and protocol say nothing about the data."""


def _mark(stack: Stack, _: Any) -> None:
    stack.below.append(stack.top)
    stack.top = []


def _put(stack: Stack, index: int) -> None:
    stack.memo[index] = stack.top[-1]


def _memoize(stack: Stack, _: Any) -> None:
    stack.memo[len(stack.memo)] = stack.top[-1]


def _get(stack: Stack, index: int) -> None:
    stack.top.append(stack.memo[index])


def _pop(stack: Stack, _: Any) -> None:
    stack.top.pop()


def _pop_mark(stack: Stack, _: Any) -> None:
    stack.items()


def _tuple(stack: Stack, _: Any) -> None:
    above = stack.items()
    stack.top.append(tuple(above))


def _tuple_of(count: int) -> Callable[[Stack, Any], None]:
    def step(stack: Stack, _: Any) -> None:
        if len(stack.top) < count:
            raise IndexError
        stack.top[-count:] = [tuple(stack.top[-count:])]

    return step


def _append(stack: Stack, _: Any) -> None:
    item = stack.top.pop()
    stack.last(list).append(item)


def _appends(stack: Stack, _: Any) -> None:
    above = stack.items()
    stack.last(list).extend(above)


def _set_pairs(stack: Stack, pairs: list[Any]) -> None:
    target = stack.last(dict)
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        target[_key(key)] = value


def _set_item(stack: Stack, _: Any) -> None:
    value, key = stack.top.pop(), stack.top.pop()
    _set_pairs(stack, [key, value])


def _set_items(stack: Stack, _: Any) -> None:
    _set_pairs(stack, stack.items())


def _add_items(stack: Stack, _: Any) -> None:
    above = stack.items()
    stack.last(set).update(map(_key, above))


def _key(key: Any) -> Any:
    if not isinstance(key, KEYS):
        raise PickleError("is damaged: a key is neither text nor a number")
    return key


def _global(stack: Stack, argument: tuple[str, str]) -> None:
    stack.top.append(stack.words.find(*argument))


def _stack_global(stack: Stack, _: Any) -> None:
    name, module = stack.top.pop(), stack.top.pop()
    if not (isinstance(name, str) and isinstance(module, str)):
        raise PickleError("is damaged: a name is not text")
    stack.top.append(stack.words.find(module, name))


def _reduce(stack: Stack, _: Any) -> None:
    arguments = stack.last(tuple)
    stack.top.pop()
    stack.top.append(stack.words.call(stack.top.pop(), arguments))


def _new_object(stack: Stack, _: Any) -> None:
    arguments, kind = stack.top.pop(), stack.top.pop()
    if not isinstance(kind, ModuleClass) or arguments != ():
        raise PickleError("is damaged: it makes an object that is not a module")
    stack.top.append(Instance(kind.name))


def _build(stack: Stack, _: Any) -> None:
    state = stack.top.pop()
    stack.words.build(stack.top[-1], state)


def _persistent(stack: Stack, _: Any) -> None:
    stack.top.append(stack.words.persistent(stack.top.pop()))


STEPS: Mapping[str, Callable[[Stack, Any], None]] = {
    "PROTO": _nothing,
    "FRAME": _nothing,
    "NONE": _fresh(lambda: None),
    "NEWTRUE": _fresh(lambda: True),
    "NEWFALSE": _fresh(lambda: False),
    "BININT": _push,
    "BININT1": _push,
    "BININT2": _push,
    "LONG1": _push_int,
    "LONG4": _push_int,
    "BINFLOAT": _push,
    "BINUNICODE": _push,
    "BINUNICODE8": _push,
    "SHORT_BINUNICODE": _push,
    "BINBYTES": _push,
    "BINBYTES8": _push,
    "SHORT_BINBYTES": _push,
    "EMPTY_DICT": _fresh(dict),
    "EMPTY_LIST": _fresh(list),
    "EMPTY_SET": _fresh(set),
    "EMPTY_TUPLE": _fresh(tuple),
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "TUPLE": _tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "ADDITEMS": _add_items,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _memoize,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _new_object,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
