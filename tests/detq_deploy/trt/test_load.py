import importlib
import sys
from pathlib import Path

import pytest

from detq.errors import TargetError, TargetUnavailableError
from detq_deploy.trt.load import MODULES, Loaded, load_tensorrt, version_parts

ALL = [name for names in MODULES.values() for name in names]


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ALL:
        monkeypatch.setitem(sys.modules, name, None)  # what is imported here leaves with the test
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])


def install(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)


def module(version: str) -> str:
    return f"__version__ = {version!r}\nclass Runtime: ...\n"


@pytest.mark.parametrize("name", MODULES["tensorrt"])
def test_either_name_becomes_tensorrt(tmp_path: Path, name: str) -> None:
    install(tmp_path, name, module("10.3.0"))
    loaded = load_tensorrt()
    import tensorrt

    assert (loaded.version, loaded.parts, loaded.major) == ("10.3.0", (10, 3, 0), 10)
    assert tensorrt.__version__ == "10.3.0"
    assert loaded.title == "TensorRT 10.3.0"


def test_rtx_looks_like_tensorrt_11(tmp_path: Path) -> None:
    install(tmp_path, "tensorrt_rtx_bindings", module("1.7.1.116"))
    loaded = load_tensorrt("tensorrt-rtx")
    assert (loaded.major, loaded.title) == (11, "TensorRT-RTX 1.7.1.116")


def test_without_it_the_way_to_it_is_told() -> None:
    with pytest.raises(TargetUnavailableError, match=r"TensorRT is not installed.*apt install"):
        load_tensorrt()
    with pytest.raises(TargetUnavailableError, match="trt-check"):
        load_tensorrt("tensorrt-rtx")


def test_a_missing_library_is_told_in_its_own_words(tmp_path: Path) -> None:
    text = "raise ImportError('libnvinfer.so.10: cannot open shared object file')"
    install(tmp_path, "tensorrt", text)
    with pytest.raises(TargetUnavailableError, match=r"does not load: libnvinfer.so.10.*LD_LIB"):
        load_tensorrt()


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    install(tmp_path, "tensorrt", "import no_such_package")
    with pytest.raises(TargetUnavailableError, match="needs the package no_such_package"):
        load_tensorrt()


def test_a_broken_one_gives_way_to_the_other_name(tmp_path: Path) -> None:
    install(tmp_path, "tensorrt", "")  # pip's stand-in
    install(tmp_path, "tensorrt_bindings", module("8.6.1"))
    assert load_tensorrt().version == "8.6.1"


def test_an_empty_stand_in_is_told(tmp_path: Path) -> None:
    install(tmp_path, "tensorrt", "")
    with pytest.raises(TargetUnavailableError, match="installed without its module"):
        load_tensorrt()


@pytest.mark.parametrize(
    ("version", "word"), [("8.2.1", "older"), ("7.1", "older"), ("12.0", "newer")]
)
def test_an_unknown_version_is_refused(tmp_path: Path, version: str, word: str) -> None:
    install(tmp_path, "tensorrt", module(version))
    with pytest.raises(TargetError, match=f"{version} is {word} than any.*8.4 to 11.*trtexec"):
        load_tensorrt()


@pytest.mark.parametrize("version", ["8.4.1.5", "8.6.2", "10.7.0.post1", "11.9"])
def test_known_generations_are_taken(tmp_path: Path, version: str) -> None:
    install(tmp_path, "tensorrt", module(version))
    assert load_tensorrt() == Loaded("tensorrt", version)


def test_parts_are_the_numbers() -> None:
    assert version_parts("10.3.0.post1") == (10, 3, 0, 1)
    assert version_parts("") == ()


def test_one_product_is_not_taken_for_the_other(tmp_path: Path) -> None:
    install(tmp_path, "tensorrt_rtx_bindings", module("1.7.1.116"))
    load_tensorrt("tensorrt-rtx")
    with pytest.raises(TargetUnavailableError, match="TensorRT is not installed"):
        load_tensorrt()
    import tensorrt

    assert tensorrt.__version__ == "1.7.1.116"  # whoever uses it goes on
    install(tmp_path, "tensorrt", module("10.3.0"))
    importlib.invalidate_caches()
    assert load_tensorrt().version == "10.3.0"
    assert load_tensorrt("tensorrt-rtx").version == "1.7.1.116"
