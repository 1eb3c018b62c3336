"""TensorRT-RTX in a process of its own: parse, build, say how it went.

``python -m detq_deploy.nvidia.rtx_worker ANSWER`` reads a request on standard input and writes
the answer to the file ANSWER. NVIDIA's library is native and may end the process: the one who
asks (``rtx.py``) then still lives. No GPU and no driver are needed; the network is compiled for
the architecture that the request names.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec

# What an installation of the wheels is called, with and without NVIDIA's umbrella package.
MODULES = ("tensorrt_rtx", "tensorrt_rtx_bindings")


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to build.

    Attributes:
        path: of the ONNX file.
        arch: such as ``sm86``.
        shapes: input with sizes that vary → the shape to build for.
        plan: where to write the plan; empty for nowhere.
    """

    path: str
    arch: str
    shapes: dict[str, tuple[int, ...]] = {}
    plan: str = ""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the parser or builder refuses a file.

    Attributes:
        node: name of the ONNX node; empty where it is not about one.
        operator: of that node.
        text: NVIDIA's words.
    """

    node: str
    operator: str
    text: str


class BuildAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How it went.

    Attributes:
        version: of TensorRT-RTX.
        refusals: none if it was built.
        warnings: NVIDIA's, each once.
        plan_bytes: size of the plan.
        table: the end of the log, with the layer table.
    """

    version: str
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()
    plan_bytes: int = 0
    table: str = ""


def build(trt: Any, request: BuildRequest) -> BuildAnswer:
    """Parse and compile; ``trt`` is NVIDIA's module."""
    log = _log_of(trt)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(request.path):
        return BuildAnswer(version=trt.__version__, refusals=_parser_errors(parser))
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, request.arch.upper()), 0)
    if request.shapes:
        profile = builder.create_optimization_profile()
        for name, shape in request.shapes.items():
            profile.set_shape(name, shape, shape, shape)
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    warnings = tuple(dict.fromkeys(log.texts(trt.ILogger.Severity.WARNING)))
    if plan is None:
        texts = log.texts(trt.ILogger.Severity.ERROR) or ["it gives no reason"]
        refusals = tuple(Refusal(node="", operator="", text=text) for text in texts)
        return BuildAnswer(version=trt.__version__, refusals=refusals, warnings=warnings)
    if request.plan:
        Path(request.plan).write_bytes(plan)
    return BuildAnswer(
        version=trt.__version__,
        warnings=warnings,
        plan_bytes=int(plan.nbytes),
        table="\n".join(log.texts(trt.ILogger.Severity.VERBOSE, since="Layers:")),
    )


def _log_of(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps every message."""

        def __init__(self) -> None:
            super().__init__()
            self.kept: list[tuple[Any, str]] = []

        def log(self, severity: Any, text: str) -> None:
            """Called by the library."""
            self.kept.append((severity, text))

        def texts(self, severity: Any, since: str = "") -> list[str]:
            """Messages of one severity, from the last that begins with ``since``."""
            found = [text for kind, text in self.kept if kind == severity]
            first = [i for i, text in enumerate(found) if text.startswith(since)][-1:]
            return found[first[0] :] if since and first else ([] if since else found)

    return Log()


def _parser_errors(parser: Any) -> tuple[Refusal, ...]:
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    return tuple(
        Refusal(node=error.node_name(), operator=error.node_operator(), text=error.desc())
        for error in errors
    )


def main(answer: Path) -> int:
    """Read the request, build, write the answer.

    Returns:
        0; 3 if TensorRT-RTX is not installed.
    """
    from importlib import import_module
    from importlib.util import find_spec

    name = next((name for name in MODULES if find_spec(name) is not None), "")
    if not name:
        return 3
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=BuildRequest)
    answer.write_bytes(msgspec.json.encode(build(import_module(name), request)))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
