"""Commands by name; a command's module is imported when it is called."""

import io
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from detq import __version__
from detq.errors import DetqError

# In the order in which a newcomer meets them.
COMMANDS = {
    "doctor": "What works on this machine.",
    "demo": "Everything at work on drawn pictures, with nothing but detq.",
    "inspect": "What a checkpoint or ONNX file is made of.",
    "export": "Checkpoint to float ONNX; INT8 file to another target.",
    "quantize": "Checkpoint and images to INT8 ONNX files.",
    "import-cache": "A TensorRT calibration cache into Q/DQ.",
    "lint": "What an engine would refuse or run slowly in a Q/DQ file.",
    "build": "A TensorRT engine of an ONNX file.",
    "eval": "COCO figures of an ONNX file on an engine.",
    "compare": "Outputs and accuracy of files and engines side by side.",
    "bench": "Speed of files and engines, taken in turn.",
    "predict": "Boxes on pictures, drawn and as JSON.",
    "run": "Everything from checkpoint to figures, as a recipe says.",
    "report": "The page of a run, or runs side by side.",
    "tune": "Which layers cost accuracy; the recipe that keeps a budget.",
    "gate": "Figures of a run against limits, for CI.",
    "sweep": "A grid of recipes and checkpoints, here or on many machines.",
    "config": "What a recipe may say, and what one comes to.",
    "completion": "Completion of commands and options for a shell.",
}

# A command whose name Python or a module already has.
_MODULES = {"eval": "evaluate", "import-cache": "import_cache"}

# Commands that keep what they have done, so that the same call goes on.
_GOES_ON = ("demo", "quantize", "run", "sweep", "tune")

_FIRST = "A start: detq quantize best_ckpt.pt --data images/ --output int8"

USER_ERROR = 2


def build_app(called: str = "") -> App:
    """The application; nothing heavy is imported by it.

    Args:
        called: command whose own description is wanted, rather than the line in the list.
    """
    app = App(
        name="detq",
        help="INT8 for trained YOLOv6 detectors, measured on the real engine.",
        help_epilogue="" if called else _FIRST,
        version=__version__,
        default_parameter=Parameter(negative_iterable=()),
        suppress_keyboard_interrupt=False,  # ends the process without a word
    )
    for place, (name, text) in enumerate(COMMANDS.items()):
        app.command(
            f"detq.cli.{_MODULES.get(name, name)}:{_MODULES.get(name, name)}",
            name=name,
            help=None if name == called else text,
            sort_key=place,
        )
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 done, 1 a finding, 2 the user's input; errors are one line on standard error.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    command = next((word for word in given if word in COMMANDS), "")
    app = build_app(command)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know no letters but ours
    try:
        code = app(given, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _complain(str(error), f"see detq {command} --help".replace("  ", " "))
    except DetqError as error:
        return _complain(str(error))
    except UnicodeEncodeError as error:
        if error.reason != "surrogates not allowed":
            raise
        return _complain(f"{_printable(error)}: has a name that is not UTF-8", "rename it")
    except KeyboardInterrupt:
        goes_on = command in _GOES_ON
        return _complain("interrupted", "the same command goes on from here" if goes_on else "")
    except BrokenPipeError:
        _drop_output()
        return 0
    except OSError as error:
        return _complain_of_system(error)
    return code if isinstance(code, int) else 0


def _complain_of_system(error: OSError) -> int:
    """What no part of the program expected; a stream that is open has no name."""
    where, remedy = error.filename, "correct the path, or see to the disk"
    if where is None:
        where, remedy = "standard output or an open file", "see to its disk or device"
    code = _complain(f"{where}: {error.strerror or error}", remedy)
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    return code


def _printable(error: UnicodeEncodeError) -> str:
    """The text that other bytes than UTF-8 were read into, as JSON cannot have it."""
    return os.fsencode(error.object).decode(errors="backslashreplace")


def _complain(text: str, remedy: str = "") -> int:
    line = " ".join(text.split()) + (f" ({remedy})" if remedy else "")
    print(f"detq: {line}", file=sys.stderr)
    return USER_ERROR


def _drop_output() -> None:
    """Nobody takes our output any more: what is still buffered must not fail at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
