"""Which adapter reads which file, and what is done to it before it leaves."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from detq.errors import CheckpointError, InputError, UnsupportedBlockError

if TYPE_CHECKING:
    from detq.model import FloatModel
    from detq.torch_file.unpickle import TorchFile

Size = tuple[int, int]
START = 32  # bytes that tell one kind of file from another


def read_source(path: Path, size: Size) -> "FloatModel":
    """A network as a float graph, branches apart where they are apart in the file.

    Args:
        path: YOLOv6 or Ultralytics checkpoint, or safetensors file written by detq; told apart
            by their content.
        size: height and width of the input in pixels.

    Raises:
        InputError: no such file, or the size does not fit.
        CheckpointError: not a checkpoint that can be read.
        UnsupportedBlockError: a part of it is not known.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="give the path of a checkpoint")
    try:
        return READERS[_content(path)](path, size)
    except (CheckpointError, UnsupportedBlockError) as error:
        if error.where.startswith(str(path)):
            raise
        inside = f": {error.where}" if error.where else ""
        hint = error.hint or "only detectors of YOLOv6 and Ultralytics can be read"
        raise type(error)(error.what, where=f"{path}{inside}", hint=hint) from error


def _content(path: Path) -> str:
    from detq.graph.safetensors_file import is_safetensors

    try:
        with path.open("rb") as file:
            start = file.read(START)
    except OSError:
        return "torch"  # which tells what is wrong
    return "safetensors" if is_safetensors(start) else "torch"


def _read_torch(path: Path, size: Size) -> "FloatModel":
    from detq.torch_file.network import package_of
    from detq.torch_file.unpickle import read_torch_file

    file = read_torch_file(path, tuple(CHECKPOINTS))
    return CHECKPOINTS[package_of(file, CHECKPOINTS)](file, size)


def _from_yolov6(file: "TorchFile", size: Size) -> "FloatModel":
    from yolov6_adapter import checkpoint_from_file, source_from_checkpoint

    return source_from_checkpoint(checkpoint_from_file(file), size)


def _from_ultralytics(file: "TorchFile", size: Size) -> "FloatModel":
    from ultralytics_adapter import checkpoint_from_file, source_from_checkpoint

    return source_from_checkpoint(checkpoint_from_file(file), size)


def _read_safetensors(path: Path, size: Size) -> "FloatModel":
    from detq.graph.files import detector_from_metadata
    from detq.graph.safetensors_file import load_safetensors
    from detq.model import FloatModel

    graph = load_safetensors(path)
    detector = detector_from_metadata(graph.metadata_props, str(path))
    if detector.size != size:
        height, width = detector.size
        raise InputError(
            f"was written for {height}x{width}, not for {size[0]}x{size[1]}",
            where=str(path),
            hint=f"give --size {height}x{width}, or export the checkpoint again",
        )
    return FloatModel(graph, detector)


READERS: Mapping[str, Callable[[Path, Size], "FloatModel"]] = {
    "torch": _read_torch,
    "safetensors": _read_safetensors,
}
# By the package whose classes the checkpoint names.
CHECKPOINTS: Mapping[str, Callable[["TorchFile", Size], "FloatModel"]] = {
    "yolov6": _from_yolov6,
    "ultralytics": _from_ultralytics,
}


def merged(source: "FloatModel") -> "FloatModel":
    """The network as engines run it: branches and normalization merged.

    Raises:
        TargetUnavailableError: torch, which checks the result, is not installed.
        NotEquivalentError: the merged network would compute something else.
    """
    from detq.transforms import DEFAULT, transform

    require_torch()
    return transform(source, DEFAULT)


def require_torch() -> None:
    """Merging and calibrating run the network in torch.

    Raises:
        TargetUnavailableError: it is not installed, or does not load.
    """
    from detq_deploy.engines import import_engine

    import_engine("torch")
