"""An engine built on the device that runs it, and brought back with its side-car.

Where detq is installed over there, its own ``detq build`` does it; else trtexec, with the equal
command, and the side-car is written here from what trtexec says.
"""

import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from detq import __version__
from detq.errors import TargetError
from detq.graph.files import load_model
from detq.run_dir import file_hash, key_of
from detq_deploy.lint import lint
from detq_deploy.lint.findings import Finding
from detq_deploy.remote.connection import Completed, Connection, OnLine
from detq_deploy.remote.host import Host
from detq_deploy.remote.store import OnBytes, Store
from detq_deploy.remote.survey import Survey, survey
from detq_deploy.trt.dialect import check_version, is_quantized
from detq_deploy.trt.load import Loaded
from detq_deploy.trt.machine import Machine
from detq_deploy.trt.make import Made, Order, audit_of, request_for
from detq_deploy.trt.request import Binding, BuildAnswer, BuildRequest
from detq_deploy.trt.side_car import (
    SideCar,
    read_side_car,
    side_car_of,
    side_car_path,
    write_side_car,
)
from detq_deploy.trt.trtexec import trtexec_command

_DONE = "done"  # in the folder of a build that ended well
_DTYPES = {"FLOAT": "FLOAT", "FLOAT16": "HALF", "UINT8": "UINT8", "INT8": "INT8", "INT32": "INT32"}


@dataclass(frozen=True, slots=True)
class Tellers:
    """Who is told what while it goes on.

    Attributes:
        line: what the builder over there prints.
        sent: bytes on their way there, and of how many.
        fetched: the same on the way back.
    """

    line: Callable[[str], None] = lambda line: None
    sent: OnBytes = lambda done, total: None
    fetched: OnBytes = lambda done, total: None


def build_there(
    host: Host,
    order: Order,
    engine: Path,
    words: Sequence[str] = (),
    *,
    tell: Tellers = Tellers(),
) -> Made:
    """Build on a device; engine and side-car come back, each whole or not at all.

    Args:
        host: a device.
        order: what to build.
        engine: file to write here.
        words: options of ``detq build`` that say the same, for the detq over there.
        tell: see ``Tellers``.

    Raises:
        InputError: the file is missing, not ONNX, or written for something else.
        TargetError: the host cannot be reached or used, has neither detq nor trtexec, is of
            another TensorRT, or what it has refuses the file.
        TargetUnavailableError: asyncssh is not installed.
    """
    request, cautions = request_for(order, engine)
    with Connection(host) as connection:
        found = survey(connection)
        store = Store(connection, found.cache)
        if found.detq_python and found.detq_version == __version__:
            made = _by_detq(store, found, order, words, engine, tell)
        elif found.trtexec:
            made = _by_trtexec(store, found, order, request, engine, tell)
        else:
            raise _nothing_there(found, host)
    return Made(made.side_car, made.audit, made.findings, (*cautions, *made.warnings))


def _nothing_there(found: Survey, host: Host) -> TargetError:
    if found.detq_version:
        return TargetError(
            f"has detq {found.detq_version}, here is {__version__}, and no trtexec",
            where=str(host),
            hint="install the same detq there",
        )
    return TargetError(
        "has neither detq nor trtexec",
        where=str(host),
        hint="sudo apt-get install libnvinfer-bin, which puts trtexec into /usr/src/tensorrt/bin",
    )


# By detq.


def _by_detq(
    store: Store, found: Survey, order: Order, words: Sequence[str], engine: Path, tell: Tellers
) -> Made:
    onnx = store.send(order.onnx, tell.sent)
    cache = order.calibration_cache
    caches = ["--calibration-cache", store.send(cache)] if cache is not None else []
    job = store.job(key_of([onnx, words, caches, found])[:32])
    there = f"{job}/model.engine"  # whatever it is called here, the job is found again
    command = [found.detq_python, "-m", "detq", "build", onnx, *words, *caches]
    command += ["--timing-cache", store.job("timing"), "--output", there, "--json"]
    kept = f"{job}/figures.json"
    done = _once(store, job, shlex.join(command), kept, on_error_line=tell.line)
    if done.code not in (0, 1):
        raise TargetError(done.last_words.removeprefix("detq: "), where=str(store.host))
    said = json.loads(done.out)
    findings = tuple(msgspec.convert(said["findings"], list[Finding]))
    warnings = tuple(said["warnings"])
    if said["engine_json"] is None:
        return Made(None, None, findings, warnings)
    store.fetch(there, engine, tell.fetched)
    store.fetch(f"{there}.json", side_car_path(engine))
    side_car = read_side_car(engine)
    return Made(side_car, audit_of(side_car), findings, warnings)


# By trtexec.


def _by_trtexec(
    store: Store, found: Survey, order: Order, request: BuildRequest, engine: Path, tell: Tellers
) -> Made:
    version = version_from_banner(found.banner)
    caution = check_version(
        Loaded("tensorrt", version), request.targets, f"{order.onnx} on {store.host}"
    )
    onnx = store.send(order.onnx, tell.sent)
    cache = order.calibration_cache
    there_request = replace(
        request,
        timing_cache=store.job("timing"),
        calibration_cache="" if cache is None else store.send(cache),
    )
    job = store.job(key_of([onnx, there_request, found])[:32])
    there = f"{job}/model.engine"  # whatever it is called here, the job is found again
    words = trtexec_command(there_request, version, onnx=onnx, engine=there)
    command = shlex.join((found.trtexec, *words[1:]))
    done = _once(store, job, f"{command} 2>&1", f"{job}/log", on_line=tell.line)
    if done.code != 0:
        raise TargetError(f"trtexec: {_reason(done)}", where=str(store.host))
    layers = store.text(f"{there}.layers.json")
    store.fetch(there, engine, tell.fetched)
    answer = BuildAnswer(
        machine=_machine(done.out, version, found),
        plan_bytes=engine.stat().st_size,
        plan_sha256=file_hash(engine),
        seconds=float(_said(done.out, r"Engine built in ([\d.]+) sec") or 0),
        warnings=tuple(dict.fromkeys(re.findall(r"\[W\] (.+)", done.out))),
        flags=tuple(word for word in words[3:] if word.startswith("--")),
        layers=layers,
        layers_form="inspector" if layers else "none",
    )
    side_car = _side_car(order, request, answer)
    write_side_car(side_car, engine)
    audit = audit_of(side_car)
    warnings = (*([caution] if caution else []), *answer.warnings)
    return Made(side_car, audit, () if audit is None else audit.findings, warnings)


def _side_car(order: Order, request: BuildRequest, answer: BuildAnswer) -> SideCar:
    model = load_model(order.onnx)
    asked = dict(lint(model, order.target).int8) if is_quantized(order.onnx) else {}
    told = replace(
        answer,
        inputs=tuple(_binding(value) for value in model.graph.inputs),
        outputs=tuple(_binding(value) for value in model.graph.outputs),
    )
    return side_car_of(request, told, dict(model.metadata_props), asked)


def _binding(value: Any) -> Binding:
    shape = tuple(n if isinstance(n, int) else -1 for n in value.shape or ())
    return Binding(name=value.name, dtype=_DTYPES.get(value.dtype.name, "FLOAT"), shape=shape)


def version_from_banner(banner: str) -> str:
    """``TensorRT v8502`` → 8.5.2, ``v100300`` → 10.3.0, ``v11.1.0.106`` → 11.1.0.106.

    Raises:
        TargetError: it says no version.
    """
    digits = banner.rpartition("v")[2]
    if "." in digits:
        return digits
    if not digits.isdigit():
        raise TargetError(
            f"trtexec says {banner!r}, which is no version", hint="does trtexec --help run there?"
        )
    number = int(digits)
    big = number >= 100_000  # from TensorRT 10 on a number has two digits
    major, rest = divmod(number, 10_000 if big else 1000)
    minor, patch = divmod(rest, 100)
    return f"{major}.{minor}.{patch}"


def _machine(log: str, version: str, found: Survey) -> Machine:
    sm = _said(log, r"Compute Capability: ([\d.]+)").replace(".", "")
    return Machine(
        product="tensorrt",
        tensorrt=version,
        gpu=_said(log, r"Selected Device: (.+)"),
        sm=f"sm{sm}" if sm else "",
        memory_mib=int(_said(log, r"Device Global Memory: (\d+) MiB") or 0),
        platform=f"Linux {found.arch}",
    )


def _said(log: str, pattern: str) -> str:
    match = re.search(pattern, log)
    return match[1].strip() if match else ""


def _reason(done: Completed) -> str:
    errors = re.findall(r"\[E\] (.+)", done.out)
    return errors[-1] if errors else f"failed with exit status {done.code}"


# Both.


def _once(store: Store, job: str, command: str, log: str, **tellers: OnLine) -> Completed:
    """Run a command that leaves its folder ``done``; one that did is not run again."""
    folder, kept = shlex.quote(job), shlex.quote(log)
    script = f"""
if [ -e {folder}/{_DONE} ]; then cat {kept}; exit 0; fi
{{ {command}; echo $? > {folder}/code; }} | tee {kept}
code=$(cat {folder}/code); [ "$code" = 0 ] && touch {folder}/{_DONE}; exit "$code"
"""
    return store.connection.run(script, **tellers)
