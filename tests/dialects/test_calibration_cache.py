import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detq.dialects.calibration_cache import CalibrationCache, cache_as_text, cache_from_text
from detq.errors import InputError

HEAD = "TRT-8502-EntropyCalibration2\n"
NAMES = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1).filter(
    lambda name: name == name.strip()
)
SCALES = st.floats(2**-100, 2**100, width=32)


def test_the_scale_of_an_image_between_0_and_1() -> None:
    # The line that TensorRT itself writes for such an input.
    found = cache_from_text("TRT-7100-EntropyCalibration2\ninput: 3c00f9f4\n", "c")
    assert found.build == 7100
    assert found.scales["input"] * 127 == pytest.approx(0.99976, abs=1e-5)
    assert cache_as_text(found) == "TRT-7100-EntropyCalibration2\ninput: 3c00f9f4\n"


@given(st.dictionaries(NAMES, SCALES, min_size=1), st.integers(1, 10**6))
def test_what_is_written_is_read_bit_for_bit(scales: dict[str, float], build: int) -> None:
    cache = CalibrationCache(build, scales)
    assert cache_from_text(cache_as_text(cache), "c") == cache


def test_what_tensorrt_writes_besides() -> None:
    text = (
        "TRT-8401-EntropyCalibration2\n"
        "input: 3caa54fc\n"
        "(Unnamed Layer* 64) [Shuffle]_output: 0\n"
        "a: b: 3cbe52af\n\n"
    )
    found = cache_from_text(text, "c")
    wanted = struct.unpack(">f", bytes.fromhex("3cbe52af"))[0]
    assert set(found.scales) == {"input", "a: b"}
    assert np.float32(found.scales["a: b"]) == np.float32(wanted)


def test_other_algorithms_are_kept() -> None:
    text = "TRT-8600-MinMaxCalibration\nx: 3caa54fc\n"
    assert cache_as_text(cache_from_text(text, "c")) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c: does not begin with TRT-<version>-EntropyCalibration2, but ''"),
        ("x: 3caa54fc", "does not begin with TRT-<version>-EntropyCalibration2, but 'x: 3caa54fc'"),
        (f"{HEAD}x 3caa54fc\n", "c: line 2: 'x 3caa54fc' is not a tensor with its scale"),
        (f"{HEAD}x: 3caa54fc\ny: 0x12\n", "c: line 3: 'y: 0x12' is not a tensor with its scale"),
        (f"{HEAD}x: bf800000\n", "c: line 2: scale -1.0 is not above 0"),
        (f"{HEAD}x: 7f800000\n", "c: line 2: scale inf is not above 0"),
        (f"{HEAD}x: 0\n", "c: holds no scale above 0"),
    ],
)
def test_what_is_no_cache(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        cache_from_text(text, "c")
    assert message in str(caught.value)
    assert str(caught.value).endswith("(give a calibration cache that TensorRT or detq wrote)")
