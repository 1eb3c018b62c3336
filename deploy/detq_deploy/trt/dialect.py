"""Whether an ONNX file is written for the TensorRT that is to read it; if not, for which."""

from collections.abc import Sequence
from pathlib import Path

from detq.errors import InputError, TargetError
from detq.graph.files import TARGET, load_model
from detq.graph.qdq import DQ, Q
from detq.target import Target
from detq_deploy.lint import lint
from detq_deploy.targets import TENSORRT
from detq_deploy.trt.load import Loaded, version_parts
from detq_deploy.trt.request import Typing

FLOATS = ("float", "float16")
_AGAIN = "detq export model.plain.onnx --target {} --output model.{}.onnx"


def target_of_file(path: Path) -> str:
    """Name of the target that detq wrote a file for; ``float`` or ``float16`` of one without
    Q/DQ; empty if others wrote it.

    Raises:
        InputError: no such file, or not ONNX.
    """  # noqa: D205 - one sentence
    note = load_model(path).metadata_props.get(TARGET, "")
    return note.partition(":")[0].strip()


def is_quantized(path: Path) -> bool:
    """Whether there is Q/DQ in a file."""
    return any(node.op_type in (Q, DQ) for node in load_model(path).graph)


def check_dialect(path: Path, target: Target, typing: Typing) -> tuple[str, ...]:
    """Whether a file can be built for ``target``.

    Args:
        path: ONNX file, of detq or not.
        target: a TensorRT, or TensorRT-RTX.
        typing: of the network.

    Returns:
        warnings.

    Raises:
        InputError: it cannot; the message says what to do.
    """
    written_for = target_of_file(path)
    if not is_quantized(path):
        return _of_float(written_for, typing)
    if written_for:
        _check_own(path, written_for, target, typing)
        return ()
    return _of_others(path, target)


def check_version(loaded: Loaded, targets: Sequence[str], where: str) -> str:
    """Whether the TensorRT that is here takes files for ``targets``.

    Returns:
        what should be known although it does; empty where nothing is.

    Raises:
        TargetError: it does not; the message names the right target.
    """
    versions = [TENSORRT[name].version for name in targets if name in TENSORRT]
    if loaded.product == "tensorrt-rtx" or not versions:
        return ""
    majors = {version_parts(version)[0] for version in versions}
    right = target_for(loaded)
    if loaded.major not in majors:
        raise TargetError(
            f"is to be built with TensorRT {versions[0]}, here is {loaded.version}",
            where=where,
            hint=f"write it for this one, {_AGAIN.format(right, right)}, and build it "
            f"with --target {right}",
        )
    if loaded.parts[:2] < min(version_parts(version)[:2] for version in versions):
        return (
            f"{where} is written for TensorRT {versions[0]}, which is newer than {loaded.version}"
        )
    return ""


def target_for(loaded: Loaded) -> str:
    """The target whose files a TensorRT takes: the newest that is not newer than it."""
    known = [
        (version_parts(target.version), name)
        for name, target in TENSORRT.items()
        if target.engine == "tensorrt"
    ]
    fitting = [found for found in known if found[0] <= loaded.parts]
    same = [found for found in known if found[0][0] == loaded.major]
    best = [found for found in fitting if found[0][0] == loaded.major] or same[:1] or fitting[-1:]
    return max(best)[1] if best else known[0][1]


def _of_float(written_for: str, typing: Typing) -> tuple[str, ...]:
    if typing == "strong" and written_for != "float16":
        return (
            "the file is float32 and strongly typed, so it will run in float32: for float16 write "
            "it with detq export --fp16",
        )
    return ()


def _check_own(path: Path, written_for: str, target: Target, typing: Typing) -> None:
    again = _AGAIN.format(target.name, target.name)
    other = TENSORRT.get(written_for)
    if other is None:
        made_for = "simulation" if written_for == "plain" else written_for
        raise InputError(
            f"is written for {made_for}, not {target.name}", where=str(path), hint=again
        )
    strong = typing == "strong"
    how = "strongly" if other.strongly_typed else "weakly"
    if other.strongly_typed != strong and target.strongly_typed != strong:
        form = _AGAIN.format("trt8.6", "trt8.6")
        raise InputError(
            f"is written for {how} typed networks",
            where=str(path),
            hint=f"leave out --typing {typing}" + ("" if strong else f", or write it so: {form}"),
        )
    if other.strongly_typed != strong or other.opset > target.opset_ceiling:
        raise InputError(
            f"is written for {written_for}, whose networks are {how} typed, not for {target.name}",
            where=str(path),
            hint=f"{again}; or build it with --target {written_for}",
        )


def _of_others(path: Path, target: Target) -> tuple[str, ...]:
    found = lint(load_model(path), target)
    if found.errors:
        first = found.findings[0]
        place = f"{first.node}: " if first.node else ""
        raise InputError(
            f"{place}{first.what}; {found.errors} such findings",
            where=str(path),
            hint=f"{first.remedy}; see detq lint {path} --target {target.name}",
        )
    return tuple(f"{f.node or path.name}: {f.what} ({f.remedy})" for f in found.findings[:3])
