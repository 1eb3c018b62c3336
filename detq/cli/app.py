"""Commands by name; a command's module is imported when it is called."""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from detq import __version__
from detq.errors import DetqError

COMMANDS = {
    "run": "Everything from checkpoint to result page, as a recipe says.",
    "quantize": "Checkpoint and images to INT8 ONNX files.",
    "export": "Checkpoint to float ONNX.",
    "eval": "COCO figures of an ONNX file on an engine.",
    "compare": "Outputs and accuracy of files and engines side by side.",
    "bench": "Speed of files and engines, taken in turn.",
    "predict": "Boxes on pictures, drawn and as JSON.",
    "inspect": "What a checkpoint or ONNX file is made of.",
    "doctor": "What works on this machine.",
}

# A command whose name Python or a module already has.
_MODULES = {"eval": "evaluate"}

USER_ERROR = 2


def build_app() -> App:
    """The application; nothing heavy is imported by it."""
    app = App(
        name="detq",
        help="INT8 for trained YOLOv6 detectors, measured on the real engine.",
        version=__version__,
        default_parameter=Parameter(negative_iterable=()),
    )
    for name, text in COMMANDS.items():
        module = _MODULES.get(name, name)
        app.command(f"detq.cli.{module}:{module}", name=name, help=text)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 done, 1 a finding, 2 the user's input; errors are one line on standard error.
    """
    app = build_app()
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _complain(" ".join(str(error).split()), "see detq --help")
    except DetqError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return _complain("interrupted", "nothing is lost; give the same command to go on")
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left, nobody is there to be told
        return USER_ERROR
    return code if isinstance(code, int) else 0


def _complain(text: str, remedy: str = "") -> int:
    print(f"detq: {text}" + (f" ({remedy})" if remedy else ""), file=sys.stderr)
    return USER_ERROR
