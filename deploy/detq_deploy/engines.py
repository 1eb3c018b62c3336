"""Loading an engine's Python package, and telling its refusals in one line."""

import importlib
import os
import re
from pathlib import Path
from types import ModuleType

from detq.errors import DetqError, TargetError, TargetUnavailableError
from detq.graph.files import load_model

# Import name → what people call it.
TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch"}

_NOISE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : |^(Exception from|Check '|Summary:|FrontEnd API failed).*"
)
_LONGEST = 240

# Read by ONNX Runtime when it loads: no files in the user's home, nothing sent.
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"


def import_engine(name: str) -> ModuleType:
    """The package ``name``.

    Raises:
        TargetUnavailableError: it is not installed, or does not load on this machine.
    """
    os.environ.setdefault(_NO_TELEMETRY, "1")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise TargetUnavailableError(
                f"{TITLES[name]} needs the package {error.name}", hint=f"pip install {error.name}"
            ) from error
        raise TargetUnavailableError(
            f"{TITLES[name]} is not installed", hint=f"pip install {name}"
        ) from error
    except ImportError as error:
        raise TargetUnavailableError(
            f"{TITLES[name]} does not load: {reason(error)}",
            hint=f"pip install --force-reinstall {name}",
        ) from error


def engine_title(name: str) -> str:
    """Name and version for figures, such as ``OpenVINO 2026.4.1``."""
    version = str(import_engine(name).__version__)
    return f"{TITLES[name]} {version.split('-')[0]}"


def refusal(name: str, path: Path, error: Exception) -> DetqError:
    """The error to raise when an engine did not open ``path``.

    Raises:
        InputError: the file itself is missing or no ONNX file.
    """
    load_model(path)
    return TargetError(
        f"{engine_title(name)} refuses the model: {reason(error)}",
        where=str(path),
        hint="try another backend, or write the model again for this one",
    )


def reason(error: Exception) -> str:
    """The telling lines of an engine's message, joined."""
    lines = (_NOISE.sub("", line.strip()) for line in str(error).splitlines())
    text = " ".join(line for line in lines if line) or type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
