"""What a set of bindings offers, read from the ``.pyi`` files made of them."""

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.detq_deploy.trt.contract.versions import Version


@dataclass(frozen=True)
class Signature:
    """One way to call something, without ``self``.

    Attributes:
        names: of the parameters in order.
        types: as the file writes them; empty where it does not.
        needed: so many of them have no default.
        returns: likewise a type.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    needed: int
    returns: str


@dataclass
class Class:
    """One class of the bindings.

    Attributes:
        name: with that of the class around it, as ``ILogger.Severity``.
        bases: of the bindings, by name.
        methods: name → ways to call it; a constructor is ``__init__``.
        properties: name → type.
        writable: those of them that can be set.
        members: of an enumeration, name → number; None for other classes.
        aliases: names of the class that stand for a member of the enumeration inside.
    """

    name: str
    bases: tuple[str, ...] = ()
    methods: dict[str, list[Signature]] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    writable: set[str] = field(default_factory=set)
    members: Mapping[str, int] | None = None
    aliases: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Offer:
    """All of it.

    Attributes:
        classes: by name, bases before those that build on them.
        functions: of the module.
        values: of the module, name → type.
    """

    classes: Mapping[str, Class]
    functions: Mapping[str, list[Signature]]
    values: Mapping[str, str]


@cache
def offer_of(version: Version) -> Offer:
    """What ``version`` offers."""
    enums = json.loads((version.stubs / "enums.json").read_text())
    classes: dict[str, Class] = {}
    functions: dict[str, list[Signature]] = {}
    values: dict[str, str] = {}
    for path in sorted((version.stubs / "tensorrt").glob("*.pyi"), reverse=True):
        for node in _statements(path):
            if isinstance(node, ast.ClassDef):
                classes |= {found.name: found for found in _classes(node, enums)}
            elif isinstance(node, ast.FunctionDef):
                functions.setdefault(node.name, []).append(_signature(node))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                values[node.target.id] = ast.unparse(node.annotation)
    return Offer(classes, functions, values)


def _statements(path: Path) -> Iterable[ast.stmt]:
    return ast.parse(path.read_text()).body


def _classes(
    node: ast.ClassDef, enums: Mapping[str, Mapping[str, int]], outer: str = ""
) -> Iterator[Class]:
    name = f"{outer}.{node.name}" if outer else node.name
    bases = tuple(base.id for base in node.bases if isinstance(base, ast.Name))
    found = Class(name, bases, members=enums.get(name))
    for part in node.body:
        if isinstance(part, ast.ClassDef):
            yield from _classes(part, enums, name)
        elif isinstance(part, ast.FunctionDef):
            _add_function(found, part)
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            _add_value(found, part.target.id, ast.unparse(part.annotation))
    yield found


def _add_function(found: Class, part: ast.FunctionDef) -> None:
    marks = {ast.unparse(mark) for mark in part.decorator_list}
    if "property" in marks:
        found.properties[part.name] = ast.unparse(part.returns) if part.returns else ""
    elif f"{part.name}.setter" in marks:
        found.writable.add(part.name)
    else:
        found.methods.setdefault(part.name, []).append(_signature(part, method=True))


def _add_value(found: Class, name: str, annotation: str) -> None:
    if not annotation.startswith("typing.ClassVar"):
        found.properties[name] = annotation
        found.writable.add(name)
    elif found.members is None and not name.startswith("__"):
        found.aliases.append(name)


def _signature(node: ast.FunctionDef, *, method: bool = False) -> Signature:
    parameters = [*node.args.posonlyargs, *node.args.args][1 if method else 0 :]
    return Signature(
        tuple(parameter.arg for parameter in parameters),
        tuple(ast.unparse(p.annotation) if p.annotation else "" for p in parameters),
        len(parameters) - len(node.args.defaults),
        ast.unparse(node.returns) if node.returns else "",
    )
