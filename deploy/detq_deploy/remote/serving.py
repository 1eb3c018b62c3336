"""A model that runs on a device, with the face of every engine here.

Images are prepared here and boxes are picked and scored here, by the same code as for every other
engine; over there runs the engine alone. So a device needs no pictures and no room for them. What
is sent is what the network reads, as bytes and packed; what comes back can be the rows alone that
may become boxes.
"""

import json
import shlex
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detq.detection import BOX, Detector
from detq.errors import InputError, TargetError
from detq.graph.files import detector_from_metadata, load_model
from detq_deploy.remote import device_runner
from detq_deploy.remote.connection import Connection, ConnectionLostError
from detq_deploy.remote.host import Host
from detq_deploy.remote.store import Store
from detq_deploy.remote.survey import Survey, require_python, survey
from detq_deploy.trt.foreign import is_engine
from detq_deploy.trt.side_car import read_side_car, side_car_path

if TYPE_CHECKING:
    import asyncssh

_ATTEMPTS = 3
_LONGEST_LINE = 1 << 20


class RemoteRunner:
    """A model in an engine over there. A connection that drops is made again.

    Args:
        host: a device.
        model: TensorRT engine, or an ONNX file where detq is installed over there.
        backend: that runs it there; by the file's name if None.
        contract: ONNX file that says what an engine without a side-car detects.
        above: rows of which no score is above it are left out of what comes back; None for all.

    Raises:
        InputError: a file is missing.
        TargetError: the host, what is installed there, or the engine refuses.
        TargetUnavailableError: asyncssh is not installed.
    """

    def __init__(
        self,
        host: Host,
        model: Path,
        *,
        backend: str | None = None,
        contract: Path | None = None,
        above: float | None = None,
    ) -> None:
        if not model.is_file():
            raise InputError("no such file", where=str(model), hint="give the path of a model")
        self._host, self._model, self._contract, self._above = host, model, contract, above
        self._backend = backend or ("tensorrt" if is_engine(model) else "onnxruntime")
        self._connection: Connection | None = None
        self._hello: dict[str, Any] = {}
        self._open()

    @property
    def name(self) -> str:
        """Engine, version and where it runs."""
        return f"{self._hello['name']} at {self._host.name}"

    @property
    def isa(self) -> str:
        """Architecture of the GPU, or instruction set of the processor, over there."""
        return str(self._hello["isa"])

    @property
    def caution(self) -> str:
        """What should be known although it runs."""
        return str(self._hello.get("caution") or "")

    @property
    def batch(self) -> int | None:
        """The fixed batch size, or None where any is taken."""
        found = int(self._hello["batch"])
        return found if found > 0 else None

    @cached_property
    def detector(self) -> Detector:
        """The contract: of the ONNX file, or of the side-car."""
        where = str(self._contract or self._model)
        if self._contract is not None or not is_engine(self._model):
            return detector_from_metadata(
                load_model(self._contract or self._model).metadata_props, where
            )
        return detector_from_metadata(read_side_car(self._model).metadata, where)

    def __call__(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run images as the model takes them."""
        head, body = self._request(images)
        for _ in range(_ATTEMPTS - 1):
            with suppress(ConnectionLostError):
                return self._ask(head, body)
            self._close()
        return self._ask(head, body)

    def _request(self, images: NDArray[Any]) -> tuple[dict[str, Any], bytes]:
        codes, scale = _as_bytes(images, self.detector.preprocessing.scale)
        head: dict[str, Any] = {
            "dtype": str(codes.dtype), "shape": list(codes.shape), "scale": scale,
            "above": self._above, "columns": BOX + 1 + len(self.detector.names),
        }  # fmt: skip
        return head, codes.tobytes()

    def _open(self) -> None:
        connection = self._connection = Connection(self._host)
        try:
            self._start(connection)
        except BaseException:
            self._close()
            raise

    def _start(self, connection: Connection) -> None:
        found = survey(connection)
        python = self._python(found)
        store = Store(connection, found.cache)
        beside = side_car_path(self._model)
        files = [self._model, *([beside] if is_engine(self._model) and beside.is_file() else [])]
        model, *_ = store.together(files)
        script = store.send(Path(device_runner.__file__))
        backend = self._backend if found.detq_python else ""
        command = shlex.join(["exec", python, script, "serve", model, backend])
        self._process = connection.wait(_started(connection, command))
        self._hello = self._answer(connection)[0]["hello"]

    def _python(self, found: Survey) -> str:
        if not is_engine(self._model) and not found.detq_python:
            raise TargetError(
                "has no detq, without which only TensorRT engines run there",
                where=str(self._host),
                hint=f"install detq there, or build an engine first: detq build {self._model.name} "
                f"--on {self._host}",
            )
        return require_python(found, str(self._host))

    def _ask(self, head: dict[str, Any], body: bytes) -> dict[str, NDArray[Any]]:
        if self._connection is None:
            self._open()
        assert self._connection is not None
        self._connection.wait(self._write(head, body))
        return device_runner.arrays_from(*self._answer(self._connection))

    async def _write(self, head: dict[str, Any], body: bytes) -> None:
        device_runner.write_message(_Sink(self._process.stdin), head, body)  # type: ignore[arg-type]
        await self._process.stdin.drain()

    def _answer(self, connection: Connection) -> tuple[dict[str, Any], bytes]:
        line, packed, said = connection.wait(self._read())
        if not line:
            raise TargetError(f"the runner there stopped: {said}", where=str(self._host))
        head = json.loads(line)
        if "error" in head:
            raise TargetError(head["error"], where=str(self._host), hint=head["hint"])
        return head, device_runner.unpacked(packed)

    async def _read(self) -> tuple[bytes, bytes, str]:
        import asyncio

        try:
            line = await self._process.stdout.readuntil(b"\n", _LONGEST_LINE)
            return line, await self._process.stdout.readexactly(json.loads(line)["bytes"]), ""
        except asyncio.IncompleteReadError as error:
            if self._connection is None or self._connection.ssh.is_closed():
                raise ConnectionResetError from error
            await self._process.wait_closed()
            if self._process.exit_status is None:
                raise ConnectionResetError from error
            said = (await self._process.stderr.read()).decode(errors="replace").split("\n")
            return b"", b"", next((text for text in reversed(said) if text.strip()), "")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.__exit__(None, None, None)

    def __enter__(self) -> "RemoteRunner":
        return self

    def __exit__(self, *error: object) -> None:
        """End the runner over there."""
        self._close()


async def _started(connection: Connection, command: str) -> "asyncssh.SSHClientProcess[bytes]":
    return await connection.ssh.create_process(command, encoding=None)


class _Sink:
    """A stream of ssh as the file that messages are written to."""

    def __init__(self, stream: "asyncssh.SSHWriter[bytes]") -> None:
        self.write = stream.write
        self.flush = partial(bool)


def _as_bytes(images: NDArray[Any], scale: float) -> tuple[NDArray[Any], float | None]:
    """Images as a byte per number, and its scale; as they are where that would lose something."""
    if images.dtype == np.float32:
        codes = np.clip(images / np.float32(scale) + np.float32(0.5), 0, 255).astype(np.uint8)
        if np.array_equal(device_runner.levels(scale)[codes], images):
            return codes, scale
    return np.ascontiguousarray(images), None
