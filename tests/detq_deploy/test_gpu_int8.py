import pytest

from detq_deploy.gpu_int8 import int8_speed


@pytest.mark.parametrize(
    ("sm", "speed"),
    [
        ("sm53", "none"),  # Nano, TX1
        ("sm61", "slow"),  # GTX 10xx
        ("sm62", "none"),  # TX2
        ("sm70", "slow"),  # V100
        ("sm72", "fast"),  # Xavier
        ("sm75", "fast"),  # T4
        ("sm87", "fast"),  # Orin
        ("sm101", "fast"),
    ],
)
def test_by_architecture(sm: str, speed: str) -> None:
    assert int8_speed(sm) == speed
