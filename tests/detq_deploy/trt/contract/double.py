"""A module that looks like one version of TensorRT, and writes down what is asked of it.

Its classes, enumerations and signatures are those of the real bindings. A name that they do not
have, or that cannot be set, raises ``AttributeError``; arguments that they do not take raise
``TypeError``: so code that passes with every version's double calls nothing that a version lacks.
What calls give back is scripted by the test::

    double.answers["ICudaEngine.get_tensor_shape"] = lambda engine, name: (1, 3, 64, 64)

and else a value of the type that the bindings promise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from tests.detq_deploy.trt.contract.signatures import Class, Offer, Signature, offer_of
from tests.detq_deploy.trt.contract.versions import Version


@dataclass(frozen=True)
class Call:
    """Something that was asked of the module.

    Attributes:
        name: ``Class.method``, or ``Class.property=`` for one that was set.
        args: without ``self``.
        kwargs: by name.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass
class Double:
    """One double of the module.

    Attributes:
        version: it looks like.
        module: to stand in ``sys.modules["tensorrt"]``.
        calls: in order.
        answers: name of a call or property → value, or a function of ``self`` and the arguments.
    """

    version: Version
    module: ModuleType
    calls: list[Call] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def called(self, name: str) -> list[Call]:
        """Every call of that name."""
        return [call for call in self.calls if call.name == name]

    def values(self, name: str) -> list[Any]:
        """First argument of every call of that name."""
        return [call.args[0] for call in self.called(name)]

    def make(self, name: str) -> Any:
        """An object of a class that the bindings let nobody construct."""
        kind = self._kind(name)
        made = object.__new__(kind)
        object.__setattr__(made, "_ready", True)
        return made

    def _kind(self, name: str) -> type:
        found: Any = self.module
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def answer(self, name: str, returns: str, this: Any, *args: Any, **kwargs: Any) -> Any:
        """What the test scripted, or a value of the promised type."""
        if name in self.answers:
            found = self.answers[name]
            return found(this, *args, **kwargs) if callable(found) else found
        return self._value(returns)

    def _value(self, kind: str) -> Any:
        simple = {"int": 0, "float": 0.0, "bool": True, "str": "", "None": None, "list": []}
        if kind in simple:
            return simple[kind]
        if kind.startswith(("list[", "collections.abc.Sequence")):
            return []
        offered = offer_of(self.version).classes.get(kind)
        if offered is None:
            return None
        if offered.members:
            return getattr(self._kind(kind), next(iter(offered.members)))
        return self.make(kind)


def double_of(version: Version) -> Double:
    """A fresh double of ``version``."""
    offer = offer_of(version)
    double = Double(version, ModuleType("tensorrt"))
    module = double.module
    module.__version__ = version.version  # type: ignore[attr-defined]
    for name in _bases_first(offer):
        _place(module, name, _class(double, offer, offer.classes[name]))
    for name, signatures in offer.functions.items():
        setattr(module, name, _function(double, name, signatures))
    for name, kind in offer.values.items():
        if kind in offer.classes and not hasattr(module, name):
            setattr(module, name, double._value(kind))
    return double


def _bases_first(offer: Offer) -> Sequence[str]:
    done: dict[str, None] = {}

    def add(name: str) -> None:
        found = offer.classes.get(name)
        if found is not None and name not in done:
            for base in (*found.bases, name.rpartition(".")[0]):
                add(base)
            done[name] = None

    for name in offer.classes:
        add(name)
    return list(done)


def _place(module: ModuleType, name: str, made: type) -> None:
    outer, _, own = name.rpartition(".")
    setattr(getattr(module, outer) if outer else module, own, made)
    for alias in getattr(made, "__members__", {}):
        if outer and alias in offer_aliases(getattr(module, outer)):
            setattr(getattr(module, outer), alias, made.__members__[alias])  # type: ignore[attr-defined]


def offer_aliases(kind: type) -> Sequence[str]:
    """Names of ``kind`` that stand for a member of the enumeration inside."""
    return getattr(kind, "_aliases", ())


class _Enum:
    """A member of an enumeration; no ``int``, as those of the bindings are none."""

    __members__: Mapping[str, "_Enum"]

    def __init__(self, value: int) -> None:
        self.value = int(value)

    @property
    def name(self) -> str:
        return next(name for name, member in self.__members__.items() if member == self)

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.value == self.value  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self.name}: {self.value}>"


class _Meta(type):
    """Objects come from the constructors of the bindings alone."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        if not getattr(made, "_ready", False):
            raise TypeError(f"{cls.__name__}.__init__() must be called when overriding __init__")
        return made


class _Object(metaclass=_Meta):
    """Any other object of the bindings: it has no attributes but theirs."""

    _ours = True

    def __setattr__(self, name: str, value: Any) -> None:
        found = getattr(type(self), name, None)
        if "_ours" in vars(type(self)) and not isinstance(found, property) and name != "_ready":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        super().__setattr__(name, value)


def _class(double: Double, offer: Offer, found: Class) -> type:
    own = found.name.rpartition(".")[2]
    if found.members is not None:
        kind = type(own, (_Enum,), {})
        members = {name: kind(value) for name, value in found.members.items()}
        kind.__members__ = members
        for name, member in members.items():
            setattr(kind, name, member)
        return kind
    bases = tuple(double._kind(base) for base in found.bases if base in offer.classes)
    body: dict[str, Any] = {"_ours": True, "_aliases": found.aliases}
    for name, signatures in found.methods.items():
        if name == "__init__" or not name.startswith("__"):
            body[name] = _method(double, found.name, name, signatures)
    if "__init__" not in body and not bases:
        body["__init__"] = _no_constructor
    for name, kind_name in found.properties.items():
        body[name] = _property(double, found, name, kind_name)
    body |= _container(double, found)
    return _Meta(own, bases or (_Object,), body)


def _no_constructor(self: Any, *args: Any, **kwargs: Any) -> None:
    raise TypeError(f"{type(self).__name__}: No constructor defined!")


def _container(double: Double, found: Class) -> dict[str, Callable[..., Any]]:
    """Length and elements, where the bindings have them."""
    names = [name for name in ("__len__", "__getitem__", "__iter__") if name in found.methods]
    return {name: _method(double, found.name, name, found.methods[name]) for name in names}


def _method(
    double: Double, owner: str, name: str, signatures: Sequence[Signature]
) -> Callable[..., Any]:
    title = owner if name == "__init__" else f"{owner}.{name}"

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = _chosen(double, title, signatures, args, kwargs)
        double.calls.append(Call(title, args, kwargs))
        if name == "__init__":
            object.__setattr__(self, "_ready", True)
            return None
        return double.answer(title, chosen.returns, self, *args, **kwargs)

    return method


def _function(double: Double, name: str, signatures: Sequence[Signature]) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        chosen = _chosen(double, name, signatures, args, kwargs)
        double.calls.append(Call(name, args, kwargs))
        return double.answer(name, chosen.returns, None, *args, **kwargs)

    return function


def _property(double: Double, found: Class, name: str, kind: str) -> property:
    title = f"{found.name}.{name}"

    def read(self: Any) -> Any:
        kept = vars(self).get(f"_{name}", None) if hasattr(self, "__dict__") else None
        return kept if kept is not None else double.answer(title, kind, self)

    def write(self: Any, value: Any) -> None:
        if not _fits(double, kind, value):
            raise TypeError(f"{title} takes {kind}, not {value!r}")
        double.calls.append(Call(f"{title}=", (value,), {}))
        vars(self)[f"_{name}"] = value

    return property(read, write if name in found.writable else None)


def _chosen(
    double: Double,
    title: str,
    signatures: Sequence[Signature],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Signature:
    for signature in signatures:
        given = dict(zip(signature.names, args, strict=False)) | dict(kwargs)
        types = dict(zip(signature.names, signature.types, strict=True))
        if (
            len(args) <= len(signature.names)
            and len(given) == len(args) + len(kwargs)
            and set(given) <= set(signature.names)
            and set(signature.names[: signature.needed]) <= set(given)
            and all(_fits(double, types[name], value) for name, value in given.items())
        ):
            return signature
    ways = "; ".join(f"({', '.join(map(': '.join, zip(s.names, s.types, strict=True)))})"
                     for s in signatures)  # fmt: skip
    raise TypeError(f"{title}{ways} was given {args} {dict(kwargs)}")


def _fits(double: Double, kind: str, value: Any) -> bool:
    """Whether pybind would convert ``value``; what is not said fits."""
    if kind in ("int", "typing.SupportsInt"):
        return hasattr(value, "__index__")
    if kind in ("float", "typing.SupportsFloat"):
        return hasattr(value, "__float__")
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "str":
        return isinstance(value, str)
    if kind == "typing_extensions.Buffer":
        return isinstance(value, bytes | bytearray | memoryview | np.ndarray) or hasattr(
            value, "__buffer__"
        )
    offered = offer_of(double.version).classes.get(kind)
    if offered is None:
        return True
    if kind.startswith("Dims"):
        return isinstance(value, Sequence) and not isinstance(value, str)
    wanted = double._kind(kind)
    return isinstance(value, wanted) or (value is None and not offered.members)
