"""Write modules as graph nodes: look the builder of a class up, keep names and blocks."""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field

import onnx_ir as ir

from detq.errors import UnsupportedBlockError
from detq.graph.build import Builder, channels, size_of
from detq.torch_file.module import Module


@dataclass(frozen=True, slots=True)
class Writer:
    """A graph builder that knows how to write each class of module.

    Attributes:
        to: the graph under way.
        blocks: from a class name to the function that writes it. A module with modules
            inside is written inside its own scope, one without is named by its parent.
        containers: classes that hold blocks and are none themselves.
        written: paths of the modules written so far.
    """

    to: Builder
    blocks: Mapping[str, "BlockBuilder"]
    containers: AbstractSet[str]
    written: set[str] = field(default_factory=set)

    def apply(self, module: Module, x: ir.Value) -> ir.Value:
        """Write one module behind ``x``.

        Raises:
            UnsupportedBlockError: there is no builder for its class.
            CheckpointError: its numbers do not fit each other or ``x``.
        """
        write = self.blocks.get(module.name)
        if write is None:
            raise UnsupportedBlockError(
                f"there is no builder for {module.kind}",
                where=module.path,
                hint="export it to float ONNX with its own code; that is taken as well",
            )
        self.written.add(module.path)
        if not module.children:
            return write(self, module, x)
        with self.inside(module):
            return write(self, module, x)

    @contextmanager
    def inside(self, module: Module) -> Iterator[None]:
        """The scope of a module, and its block unless it is a container."""
        with self.to.scope(module.key):
            if module.name in self.containers:
                yield
            else:
                with self.to.block(module.name):
                    yield

    def chain(self, module: Module, x: ir.Value, *names: str) -> ir.Value:
        """Write children of a module one after another."""
        for name in names:
            x = self.apply(module.child(name), x)
        return x

    def add(self, module: Module, a: ir.Value, b: ir.Value) -> ir.Value:
        """The sum of two values of one shape."""
        if (channels(a), size_of(a)) != (channels(b), size_of(b)):
            raise module.damaged(f"adds {_text(a)} to {_text(b)}")
        return self.to.elementwise("Add", a, b)

    def concat(self, module: Module, *inputs: ir.Value) -> ir.Value:
        """Channels of values of one size side by side."""
        if len({size_of(x) for x in inputs}) > 1:
            raise module.damaged("joins " + ", ".join(map(_text, inputs)))
        return self.to.concat(inputs)


def check_all_written(write: Writer, module: Module) -> None:
    """No layer inside was passed over, which would be a guess.

    Raises:
        UnsupportedBlockError: a layer was left out.
    """
    if module.children:
        for child in module.children.values():
            check_all_written(write, child)
    elif module.name not in EMPTY and module.path not in write.written:
        raise module.unsupported("the block around it is not of a known form")


# Classes that may be there without content.
EMPTY = frozenset({"Sequential", "ModuleList"})
BlockBuilder = Callable[[Writer, Module, ir.Value], ir.Value]


def _text(x: ir.Value) -> str:
    height, width = size_of(x)
    return f"{channels(x)} x {height} x {width}"
