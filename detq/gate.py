"""Whether a finished run is good enough to ship: its figures against limits, for CI."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import msgspec

from detq.errors import InputError

METRICS = "metrics.json"
FLOAT = "float"
_TIGHT = 1e-9  # a difference of two decimal numbers that are equal to the user


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has to keep; None where it does not matter.

    Attributes:
        max_drop: points of AP (0 to 100) below the float model on the same engine.
        min_ap: COCO's AP, 0 to 1.
        min_agreement: AP with the float model's boxes as the truth, 0 to 1.
        max_latency_ms: median per image.
        min_speedup: median, over the float model.
    """

    max_drop: float | None = None
    min_ap: float | None = None
    min_agreement: float | None = None
    max_latency_ms: float | None = None
    min_speedup: float | None = None

    def __post_init__(self) -> None:
        if all(getattr(self, name) is None for name in self.__struct_fields__):
            raise InputError("nothing to check", hint="give --max-drop, --min-ap or another limit")
        for name in ("min_ap", "min_agreement"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                option = f"--{name.replace('_', '-')}"
                raise InputError(f"{share:g} is not from 0 to 1", where=option, hint="give 0.36")


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One figure against one limit.

    Attributes:
        what: figure and engine.
        passed: whether the limit is kept.
        told: figure and limit in words.
    """

    what: str
    passed: bool
    told: str


# Of ``metrics.json`` what limits are about; the file holds more.
_Engine = Annotated[str, msgspec.Meta(pattern=r"^\S+ \S+$")]  # model and engine


class _Agreement(msgspec.Struct):
    ap: float


class _Score(msgspec.Struct):
    ap: float = msgspec.field(name="AP")
    agreement: _Agreement | None = None


class _Median(msgspec.Struct):
    median: float


class _Timing(msgspec.Struct):
    backend: str
    wall_ms: _Median
    speedup: _Median


class _Speed(msgspec.Struct, frozen=True):
    timings: dict[str, _Timing] = {}


class _Figures(msgspec.Struct):
    accuracy: dict[_Engine, _Score] = {}
    speed: _Speed = _Speed()


def read_figures(folder: Path) -> Mapping[str, Any]:
    """The figures of a finished run.

    Raises:
        InputError: it is no run folder, or not finished.
    """
    path = folder / METRICS
    try:
        found: Mapping[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise InputError(
            "is no finished run", where=str(folder), hint="give the folder of a finished detq run"
        ) from error
    except msgspec.DecodeError as error:
        raise InputError(
            f"cannot be read: {error}", where=str(path), hint="run the recipe again"
        ) from error
    return found


def check(figures: Mapping[str, Any], limits: Limits, where: str) -> tuple[Check, ...]:
    """Every limit, on every engine that an INT8 model was measured on.

    Args:
        figures: of a run.
        limits: to keep.
        where: the run's name.

    Raises:
        InputError: a figure that a limit is about was not measured, or they are of another tool.
    """
    try:
        run = msgspec.convert(figures, _Figures)
    except msgspec.ValidationError as error:
        raise _foreign(where) from error
    scored = limits.max_drop, limits.min_ap, limits.min_agreement
    timed = limits.max_latency_ms, limits.min_speedup
    found: list[Check] = []
    if any(limit is not None for limit in scored):
        if not run.accuracy:
            raise _unmeasured("accuracy", "evaluation", where)
        found += _accuracy(run.accuracy, limits, where)
    if any(limit is not None for limit in timed):
        if not run.speed.timings:
            raise _unmeasured("speed", "bench", where)
        found += _speed(run.speed.timings, limits)
    if not found:
        raise InputError("holds no INT8 model's figures", where=where, hint="add a target")
    return tuple(found)


def _unmeasured(name: str, section: str, where: str) -> InputError:
    hint = f"add `{section}` to the recipe"
    return InputError(f"has no figures of {name}", where=where, hint=hint)


def _foreign(where: str) -> InputError:
    return InputError(
        "holds other figures than those of a run of detq",
        where=where,
        hint="give the folder of a finished detq run",
    )


def _accuracy(accuracy: Mapping[str, _Score], limits: Limits, where: str) -> Iterator[Check]:
    for key, found in accuracy.items():
        label, backend = key.split(" ")
        if label == FLOAT:
            continue
        title, before = f"{label} in {backend}", accuracy.get(f"{FLOAT} {backend}")
        if limits.max_drop is not None:
            if before is None:
                raise _foreign(where)
            drop = 100 * (before.ap - found.ap)
            yield _at_most(f"AP lost, {title}", drop, limits.max_drop, "points")
        if limits.min_ap is not None:
            yield _at_least(f"AP, {title}", found.ap, limits.min_ap)
        if limits.min_agreement is not None:
            if found.agreement is None:
                raise InputError("has no agreement", where=where, hint="run the recipe again")
            same = found.agreement.ap
            yield _at_least(f"agreement with float, {title}", same, limits.min_agreement)


def _speed(timings: Mapping[str, _Timing], limits: Limits) -> Iterator[Check]:
    for label, timing in timings.items():
        if label == FLOAT:
            continue
        title = f"{label} in {timing.backend}"
        if limits.max_latency_ms is not None:
            yield _at_most(f"latency, {title}", timing.wall_ms.median, limits.max_latency_ms, "ms")
        if limits.min_speedup is not None:
            times = timing.speedup.median
            yield _at_least(f"speed-up, {title}", times, limits.min_speedup)


def _at_most(what: str, found: float, limit: float, unit: str) -> Check:
    return Check(
        what=what,
        passed=found <= limit + _TIGHT,
        told=f"{found:.4g} {unit}, at most {limit:g} allowed",
    )


def _at_least(what: str, found: float, limit: float) -> Check:
    return Check(
        what=what, passed=found >= limit - _TIGHT, told=f"{found:.4g}, at least {limit:g} asked for"
    )


def junit_xml(name: str, checks: Sequence[Check]) -> bytes:
    """JUnit's form, which CI systems show as tests: one case per check."""
    failures = str(sum(not one.passed for one in checks))
    counts = {"name": "detq gate", "tests": str(len(checks)), "failures": failures}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {**counts, "name": name, "errors": "0"})
    for one in checks:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": f"detq.gate.{name}", "name": one.what, "time": "0"}
        )
        if not one.passed:
            ElementTree.SubElement(case, "failure", {"message": one.told, "type": "limit"})
    ElementTree.indent(suites)
    found: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return found + b"\n"
