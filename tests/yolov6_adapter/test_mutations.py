from pathlib import Path

import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detq.errors import CheckpointError, InputError, UnsupportedBlockError
from yolov6_adapter import read_checkpoint, source_from_checkpoint

PICKLE = (140, 87_000)  # where the old layout keeps the structure; it has no checksums
Change = tuple[int, bytes, bool]

changes = st.lists(
    st.tuples(st.integers(*PICKLE), st.binary(min_size=1, max_size=2), st.booleans()),
    min_size=1,
    max_size=2,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutations") / "x.pt"


def outcome(path: Path) -> ir.Model | str:
    try:
        return source_from_checkpoint(read_checkpoint(path), (64, 64)).graph
    except (CheckpointError, UnsupportedBlockError, InputError) as error:
        return str(error)


@settings(max_examples=150)
@given(change=changes)
def test_a_damaged_file_is_refused_or_gives_a_sound_graph(
    data: Path, place: Path, change: list[Change]
) -> None:
    content = bytearray((data / "fixtures" / "v1_t_legacy.pt").read_bytes())
    for start, new, inserted in change:
        content[start : start + (0 if inserted else len(new))] = new
    place.write_bytes(content)
    got = outcome(place)
    if isinstance(got, str):
        assert "\n" not in got
        return
    serialized = ir.serde.serialize_model(got).SerializeToString()
    ort.InferenceSession(serialized, providers=["CPUExecutionProvider"])  # checks every shape


@settings(max_examples=20)
@given(end=st.integers(0, 190_000))
def test_a_file_cut_short_is_refused(data: Path, place: Path, end: int) -> None:
    for name in ("v1_t_legacy", "v2_n_base"):
        content = (data / "fixtures" / f"{name}.pt").read_bytes()
        place.write_bytes(content[: min(end, len(content) - 1)])
        assert isinstance(outcome(place), str)
