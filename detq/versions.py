"""Which versions are at work, found without importing anything heavy."""

import platform
from importlib import metadata

from detq import __version__

PACKAGES = (
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "opencv-python-headless",
    "openvino",
    "pycocotools",
    "tensorrt",
    "torch",
)


def versions() -> dict[str, str]:
    """Python, detq and those of ``PACKAGES`` that are installed."""
    found = {package: _version(package) for package in PACKAGES}
    installed = {package: version for package, version in found.items() if version}
    return {"python": platform.python_version(), "detq": __version__, **installed}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
