"""A pickle read as data: a stack machine that builds records and calls nothing of the file's.

The standard library reads the opcodes' arguments, ``opcodes`` says what they do. Python's own
unpickler is not used: a file can make it fill memory (a memo index of two thousand million)
or hash for hours (nested tuples as keys), and set attributes on whatever it was given.
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any

from detq.torch_file.inert import PickleError
from detq.torch_file.opcodes import STEPS, Stack, Vocabulary

MOST_WORK = 1_000_000  # a large detector with its optimizer takes less than half
STOP = b"."
NAMES = {opcode.code.encode("latin1"): opcode.name for opcode in pickletools.opcodes}


def run(stream: io.BytesIO, words: Vocabulary) -> object:
    """The object of one pickle; the stream is left behind its end.

    Raises:
        PickleError: damaged, too large, or asking for what ``words`` does not hold.
    """
    stack = Stack(words, [], [], {})
    try:
        for _ in range(MOST_WORK):
            code = stream.read(1)
            if code == STOP:
                return stack.top.pop()
            read, step = OPCODES[code]
            step(stack, read(stream) if read else None)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise _explained(code) from error
    raise PickleError(f"has more than {MOST_WORK} pickle operations")


def _explained(code: bytes) -> PickleError:
    if code in OPCODES or code not in NAMES or code == STOP:
        return PickleError("is damaged: its pickle ends early or makes no sense")
    return PickleError(f"uses pickle opcode {NAMES[code]}, which torch does not write")


def _read_name(stream: IO[bytes]) -> tuple[str, str]:
    """Module and name, a line each; the library's reader would look for escapes in them."""
    module, name = (stream.readline().decode().removesuffix("\n") for _ in range(2))
    return module, name


def _reader(opcode: pickletools.OpcodeInfo) -> Callable[[IO[bytes]], Any] | None:
    if opcode.name == "GLOBAL":
        return _read_name
    return opcode.arg.reader if opcode.arg else None


# How the argument of an opcode is read, and what the opcode does.
OPCODES: Mapping[bytes, tuple[Callable[[IO[bytes]], Any] | None, Callable[[Stack, Any], None]]] = {
    opcode.code.encode("latin1"): (_reader(opcode), STEPS[opcode.name])
    for opcode in pickletools.opcodes
    if opcode.name in STEPS
}
