import os
import platform

import pytest

from detq_deploy.cpu import (
    cpu_features,
    features_from_cpuinfo,
    features_from_sysctl,
    quota_from_cpu_max,
)

PROCESSOR = """processor\t: {number}
model name\t: Some CPU @ 2.70GHz
physical id\t: {socket}
core id\t\t: {core}
flags\t\t: fpu sse4_1 avx fma f16c avx2 {more}

"""


def x86(*cores: tuple[int, int], more: str = "") -> str:
    return "".join(
        PROCESSOR.format(number=n, socket=socket, core=core, more=more)
        for n, (socket, core) in enumerate(cores)
    )


@pytest.mark.parametrize(
    ("more", "label"),
    [
        ("", "AVX2"),
        ("avx_vnni", "AVX-VNNI"),
        ("avx512f avx512bw", "AVX512"),
        ("avx512f avx512_vnni", "AVX512-VNNI"),
        ("avx512f avx512_vnni avx_vnni amx_int8 amx_bf16", "AMX"),
    ],
)
def test_the_label_is_the_best_for_int8(more: str, label: str) -> None:
    text = x86((0, 0), more=more)
    assert features_from_cpuinfo(text, architecture="x86_64", usable=[0]).isa_label == label


def test_isa_holds_our_names_in_fixed_order() -> None:
    text = x86((0, 0), more="amx_int8 avx512_vnni avx512f")
    found = features_from_cpuinfo(text, architecture="x86_64", usable=[0])
    assert found.isa == (
        "sse4_1", "avx", "f16c", "fma", "avx2", "avx512f", "avx512_vnni", "amx_int8",
    )  # fmt: skip
    assert found.model == "Some CPU @ 2.70GHz"


TWO_SOCKETS_OF_TWO_CORES_TWICE = ((0, 0), (0, 1), (1, 0), (1, 1)) * 2


@pytest.mark.parametrize(
    ("usable", "quota", "cores"),
    [
        (range(8), None, 4),
        ([0, 4], None, 1),
        ([0, 2], None, 2),
        (range(8), 2.5, 2),
        (range(8), 0.5, 1),
        (range(8), 64.0, 4),
        ([99], None, 4),
    ],
    ids=["all", "siblings", "two sockets", "quota", "half", "wide quota", "strange affinity"],
)
def test_usable_cores_follow_affinity_and_quota(
    usable: range, quota: float | None, cores: int
) -> None:
    text = x86(*TWO_SOCKETS_OF_TWO_CORES_TWICE)
    found = features_from_cpuinfo(text, architecture="x86_64", usable=usable, quota=quota)
    assert (found.physical_cores, found.usable_cores) == (4, cores)


ARM = "".join(
    f"processor\t: {n}\nBogoMIPS\t: 62.50\nFeatures\t: fp asimd{{more}}\nCPU part\t: 0xd42\n\n"
    for n in range(6)
)


@pytest.mark.parametrize(
    ("more", "label"),
    [("", "NEON"), (" asimddp", "NEON dotprod"), (" asimddp i8mm sve", "NEON i8mm")],
)
def test_arm_boards(more: str, label: str) -> None:
    found = features_from_cpuinfo(
        ARM.format(more=more), architecture="aarch64", usable=range(6), board="Some Orin Board"
    )
    assert (found.isa_label, found.model) == (label, "Some Orin Board")
    assert (found.physical_cores, found.usable_cores) == (6, 6)


def test_an_empty_cpuinfo_degrades() -> None:
    found = features_from_cpuinfo("", architecture="riscv64", usable=[0])
    assert (found.isa, found.isa_label) == ((), "riscv64")
    assert found.physical_cores >= found.usable_cores >= 1


def test_macos() -> None:
    values = {
        "machdep.cpu.brand_string": "Apple M2",
        "hw.physicalcpu": "8",
        "hw.optional.neon": "1",
        "hw.optional.arm.FEAT_DotProd": "1",
        "hw.optional.arm.FEAT_I8MM": "0",
    }
    found = features_from_sysctl(values, "arm64")
    assert (found.model, found.physical_cores) == ("Apple M2", 8)
    assert found.isa_label == "NEON dotprod"


@pytest.mark.parametrize(
    ("text", "quota"),
    [("max 100000", None), ("150000 100000", 1.5), ("", None), ("1 0", None), ("a b", None)],
)
def test_quota_of_a_control_group(text: str, quota: float | None) -> None:
    assert quota_from_cpu_max(text) == quota


def test_this_machine() -> None:
    found = cpu_features()
    assert found.architecture == platform.machine()
    assert 1 <= found.usable_cores <= found.physical_cores <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_this_process_bound_to_one_processor() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cpu_features().usable_cores == 1
    finally:
        os.sched_setaffinity(0, before)
