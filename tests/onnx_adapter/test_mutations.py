import resource
import time
from collections import Counter
from pathlib import Path

import pytest

from detq.errors import DetqError
from onnx_adapter import read_onnx
from tests.onnx_adapter.graphs import detector
from tests.onnx_adapter.mutations import mutated

SOURCES = {
    "dynamic": detector(17),
    "fixed": detector(11, batch=1),
    "any size": detector(21, size=("h", "w"), metadata={"imgsz": "[32, 32]"}),
}
SECONDS, GROWTH = 5, 1 << 20  # KiB


def _try(path: Path, content: bytes, seed: int) -> str:
    path.write_bytes(mutated(content, seed))
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_onnx(path)
        outcome = "read"
    except DetqError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
        outcome = "told"
    assert time.process_time() - start < SECONDS, seed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH, seed
    return outcome


@pytest.mark.parametrize("source", SOURCES)
def test_a_damaged_file_is_read_or_told(tmp_path: Path, source: str) -> None:
    content = SOURCES[source].SerializeToString()
    found = Counter(_try(tmp_path / "model.onnx", content, seed) for seed in range(60))
    assert found["told"] > 30
    assert found["read"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_many_damaged_files(tmp_path: Path, source: str) -> None:
    content = SOURCES[source].SerializeToString()
    found = Counter(_try(tmp_path / "model.onnx", content, seed) for seed in range(60, 230))
    assert found["told"] > 80
