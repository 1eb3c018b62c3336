"""``detq doctor``."""

import platform

import msgspec

from detq.cli.output import Output, number_of, print_table


class Engine(msgspec.Struct, frozen=True):
    """One engine on this machine.

    Attributes:
        name: as ``--backend`` takes it.
        use: what it is needed for.
        version: installed version; empty if it is not.
        saturates: whether 8-bit products overflow here; None where that cannot happen.
        remedy: what to do if it does not work.
    """

    name: str
    use: str
    version: str
    saturates: bool | None
    remedy: str


def doctor(*, out: Output = Output()) -> None:  # noqa: B008 - frozen
    """Show what works on this machine, and the install line for what does not.

    Example: detq doctor

    Args:
        out: How the result is told.
    """
    from detq_deploy.backends import BACKENDS
    from detq_deploy.cpu import cpu_features

    cpu = cpu_features()
    engines = [_engine(name) for name in BACKENDS]
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
        print(f"{cpu.model}, {number_of(cpu.usable_cores, 'core')}, INT8 by {cpu.isa_label}")
        columns = ["engine", "used for", "version", "8-bit products", "remedy"]
        rows = [
            [e.name, e.use, e.version or "missing", _PRODUCTS[e.saturates], e.remedy]
            for e in engines
        ]
        print_table("", columns, rows, words=columns)

    out.tell(figures, show)


_PRODUCTS = {None: "", True: "overflow: 7-bit weights", False: "exact: 8-bit weights"}
_USES = {"torch": "quantizing, simulation"}


def _engine(name: str) -> Engine:
    from detq.errors import TargetUnavailableError
    from detq_deploy.engines import import_engine
    from detq_deploy.saturation import probe

    use = _USES.get(name, "running models")
    try:
        version = str(import_engine(name).__version__).split("-")[0]
    except TargetUnavailableError as error:
        return Engine(name, use, "", None, error.hint)
    return Engine(name, use, version, None if name == "torch" else probe(name).saturates, "")
