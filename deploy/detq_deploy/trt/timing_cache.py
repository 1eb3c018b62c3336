"""What the builder timed before, kept, so that a second build is quick and chooses the same.

One file for everything that a timing depends on: the network, TensorRT, GPU, driver and choices.
The files are TensorRT's own; trtexec reads them (``--timingCacheFile``).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from detq.run_dir import file_hash
from detq.whole_file import written_whole
from detq_deploy.trt.machine import Machine
from detq_deploy.trt.request import BuildRequest

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(frozen=True)
class KeptTimings:
    """A cache that a build began with.

    Attributes:
        path: its file.
        sha256: of what was read from it; empty if nothing was.
        warning: why it was not used; empty if it was, or there was none.
    """

    path: Path
    sha256: str = ""
    warning: str = ""


def timing_file(request: BuildRequest, machine: Machine) -> Path:
    """Where the timings of a build belong: folder and a name that only equal builds share."""
    parts = {
        "onnx": file_hash(request.path),
        "machine": machine,
        "settings": request.settings,
        "profiles": request.profiles,
    }
    key = hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
    return Path(request.timing_cache) / f"{request.path.stem}-{key[:16]}.timing"


def load_timings(config: "trt.IBuilderConfig", path: Path) -> KeptTimings:
    """Begin with the timings of ``path``; with none, if it is not there or cannot be used.

    A damaged file is known by the sum that was written beside it.
    """
    blob, warning = _read(path)
    cache = config.create_timing_cache(blob)
    if blob and (cache is None or not config.set_timing_cache(cache, False)):
        warning = f"{path}: TensorRT refuses it, so everything is timed again"
        blob, cache = b"", config.create_timing_cache(b"")
    if not blob and cache is not None:
        config.set_timing_cache(cache, False)
    return KeptTimings(path, hashlib.sha256(blob).hexdigest() if blob else "", warning)


def save_timings(config: "trt.IBuilderConfig", kept: KeptTimings) -> None:
    """Write what is known now, with what another build has written meanwhile."""
    cache = config.get_timing_cache()
    if cache is None:
        return
    meanwhile, _ = _read(kept.path)
    if meanwhile and hashlib.sha256(meanwhile).hexdigest() != kept.sha256:
        other = config.create_timing_cache(meanwhile)
        if other is not None:
            cache.combine(other, False)
    memory: Any = cache.serialize()  # a buffer, which its signature does not say
    blob = bytes(memory)
    with written_whole(kept.path) as path:
        path.write_bytes(blob)
    with written_whole(_sum_file(kept.path)) as path:
        path.write_text(hashlib.sha256(blob).hexdigest() + "\n")


def _read(path: Path) -> tuple[bytes, str]:
    """Content and warning; no content where it cannot be trusted."""
    if not path.is_file():
        return b"", ""
    try:
        blob = path.read_bytes()
        kept = _sum_file(path).read_text().strip()
    except OSError as error:
        return b"", f"{path}: cannot be read ({error.strerror}), so everything is timed again"
    if hashlib.sha256(blob).hexdigest() != kept:
        return b"", f"{path}: is damaged, so everything is timed again"
    return blob, ""


def _sum_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
