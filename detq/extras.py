"""What detq can do besides, once more packages are installed: the extras of its own metadata."""

import shlex
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement


@dataclass(frozen=True, slots=True)
class Extra:
    """One extra of detq, as it stands on this machine.

    Attributes:
        name: as pip takes it in brackets.
        versions: package → installed version, empty where it is missing; no package where the
            extra has none for this platform.
        install: command that installs what is missing; empty where nothing is.
    """

    name: str
    versions: dict[str, str]
    install: str


def extras() -> tuple[Extra, ...]:
    """All extras, by name."""
    known = metadata.metadata("detq").get_all("Provides-Extra") or []
    return tuple(_extra(name) for name in sorted(known))


def _extra(name: str) -> Extra:
    wanted = [
        requirement
        for text in metadata.requires("detq") or []
        if (requirement := Requirement(text)).marker is not None
        and requirement.marker.evaluate({"extra": name})
        and not requirement.marker.evaluate({"extra": ""})
    ]
    versions = {requirement.name: _version(requirement.name) for requirement in wanted}
    missing = [f"{one.name}{one.specifier}" for one in wanted if not versions[one.name]]
    install = f"pip install {shlex.join(missing)}" if missing else ""
    return Extra(name, versions, install)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
