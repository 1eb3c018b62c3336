"""Which adapter reads which file, and what is done to it before it leaves."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detq.errors import CheckpointError, InputError, UnsupportedBlockError

if TYPE_CHECKING:
    from detq.detection import Layout
    from detq.model import FloatModel
    from detq.torch_file.unpickle import TorchFile

Size = tuple[int, int]
START = 32  # bytes that tell one kind of file from another
SIZE: Size = (640, 640)  # where neither the user nor the file says one

_TORCH_STARTS = (b"PK", b"\x80")  # an archive, or a pickle of old
_ONNX_STARTS = b"\x08\x12\x1a\x22\x28\x32\x3a\x42\x72"  # the fields of a model


def read_source(
    path: Path,
    size: Size,
    *,
    layout: "Layout | None" = None,
    names: Sequence[str] | None = None,
) -> "FloatModel":
    """A network as a float graph, branches apart where they are apart in the file.

    Args:
        path: YOLOv6 or Ultralytics checkpoint, safetensors file written by detq, or float ONNX
            file of any detector; told apart by their content.
        size: height and width of the input in pixels.
        layout: of the output of an ONNX file; recognised if None.
        names: class names of an ONNX file; those it says if None.

    Raises:
        InputError: no such file, or an argument does not fit.
        CheckpointError: not a checkpoint that can be read.
        UnsupportedBlockError: a part of it is not known.
        ModelError: an ONNX file that is no detector of boxes.
    """
    kind = _kind(path)
    if kind == "onnx":
        from onnx_adapter import read_onnx

        return read_onnx(path, size, layout=layout, names=names)
    if layout or names:
        raise InputError(
            "a checkpoint says its layout and class names itself",
            where=str(path),
            hint="leave --layout and --names out; they are for ONNX files",
        )
    try:
        return READERS[kind](path, size)
    except (CheckpointError, UnsupportedBlockError) as error:
        if error.where.startswith(str(path)):
            raise
        inside = f": {error.where}" if error.where else ""
        hint = error.hint or "only detectors of YOLOv6 and Ultralytics can be read"
        raise type(error)(error.what, where=f"{path}{inside}", hint=hint) from error


def size_for(path: Path, size: Size | None) -> Size:
    """The size given, else the one an ONNX or safetensors file is made for, else 640 x 640.

    Raises:
        InputError: no such file, or an ONNX file that takes any size.
    """
    if size is not None:
        return size
    size_of = SIZES.get(_kind(path))
    return SIZE if size_of is None else size_of(path)


def names_from(text: str | None) -> tuple[str, ...] | None:
    """Class names from ``--names``: separated by commas, or those of a data.yaml or COCO JSON.

    Raises:
        DatasetError: the file cannot be read.
    """
    if text is None:
        return None
    if text.endswith((".yaml", ".yml")):
        from detq.data.yolo_yaml import read_data_yaml

        return read_data_yaml(Path(text)).names
    if text.endswith(".json"):
        from detq.data.coco_json import read_coco_names

        return read_coco_names(Path(text))
    return tuple(name.strip() or f"class_{i}" for i, name in enumerate(text.split(",")))


def _kind(path: Path) -> str:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(what, where=str(path), hint="give the path of a checkpoint or ONNX file")
    return _content(path)


def is_onnx(path: Path) -> bool:
    """Whether a file is read as ONNX.

    Raises:
        InputError: no such file.
    """
    return _kind(path) == "onnx"


def _content(path: Path) -> str:
    from detq.graph.safetensors_file import is_safetensors

    try:
        with path.open("rb") as file:
            start = file.read(START)
    except OSError:
        return "torch"  # which tells what is wrong
    if is_safetensors(start):
        return "safetensors"
    if start.startswith(_TORCH_STARTS):
        return "torch"
    suffix = path.suffix.lower()
    looks_so = bool(start) and start[0] in _ONNX_STARTS and suffix not in (".pt", ".pth")
    return "onnx" if looks_so or suffix == ".onnx" else "torch"


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


def _read_safetensors(path: Path, size: Size | None) -> "FloatModel":
    from detq.graph.files import detector_from_metadata
    from detq.graph.safetensors_file import load_safetensors
    from detq.model import FloatModel

    graph = load_safetensors(path)
    detector = detector_from_metadata(graph.metadata_props, str(path))
    if size is not None and detector.size != size:
        height, width = detector.size
        raise InputError(
            f"was written for {height}x{width}, not for {size[0]}x{size[1]}",
            where=str(path),
            hint=f"give --size {height}x{width}, or export the checkpoint again",
        )
    return FloatModel(graph, detector)


def _size_of_safetensors(path: Path) -> Size:
    return _read_safetensors(path, None).detector.size


def _size_of_onnx(path: Path) -> Size:
    from onnx_adapter import image_size

    return image_size(path)


READERS: Mapping[str, Callable[[Path, Size], "FloatModel"]] = {
    "torch": _read_torch,
    "safetensors": _read_safetensors,
}
# Where none is given and the file is made for one.
SIZES: Mapping[str, Callable[[Path], Size]] = {
    "onnx": _size_of_onnx,
    "safetensors": _size_of_safetensors,
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
