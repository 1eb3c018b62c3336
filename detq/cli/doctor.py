"""``detq doctor``."""

import platform

import msgspec

from detq.cli.arguments import Output, print_table


class Engine(msgspec.Struct, frozen=True):
    """One engine on this machine.

    Attributes:
        name: as ``--backend`` takes it.
        version: installed version; empty if it is not.
        saturates: whether 8-bit products overflow here; None where that cannot happen.
        remedy: what to do if it does not work.
    """

    name: str
    version: str
    saturates: bool | None
    remedy: str


def doctor(*, out: Output = Output()) -> None:  # noqa: B008 - frozen
    """Show what works on this machine, and the install line for what does not.

    Example: detq doctor --json

    Args:
        out: How the result is told.
    """
    from detq_deploy.cpu import cpu_features

    cpu = cpu_features()
    engines = [_engine(name) for name in ("torch", "onnxruntime", "openvino")]
    figures = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu.model,
        "isa": cpu.isa_label,
        "cores": cpu.usable_cores,
        "engines": engines,
    }

    def show() -> None:
        print(f"Python {figures['python']} on {figures['platform']}")
        print(f"{cpu.model}, {cpu.usable_cores} cores, INT8 by {cpu.isa_label}")
        rows = [
            [e.name, e.version or "not installed", _WORDS[e.saturates], e.remedy] for e in engines
        ]
        print_table("", ["engine", "version", "8-bit products", "remedy"], rows)

    out.tell(figures, show)


_WORDS = {None: "", True: "overflow: 7-bit weights", False: "exact"}


def _engine(name: str) -> Engine:
    from detq.errors import TargetUnavailableError
    from detq_deploy.engines import import_engine
    from detq_deploy.saturation import probe

    try:
        version = str(import_engine(name).__version__)
    except TargetUnavailableError as error:
        return Engine(name, "", None, error.hint)
    return Engine(name, version, None if name == "torch" else probe(name).saturates, "")
