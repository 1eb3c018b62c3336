from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detq.errors import CheckpointError, DetqError, InputError, UnsupportedBlockError
from detq.torch_file.module import Module
from ultralytics_adapter import Checkpoint, read_checkpoint, source_from_checkpoint
from ultralytics_adapter.wiring import sources_of

GOLDEN = Path(__file__).parent.parent / "golden"


def layer(i: int, reads: Any) -> Module:
    return Module("torch.nn.modules.linear.Identity", f"model.{i}", {"i": i, "f": reads}, {}, {})


@pytest.mark.parametrize(
    ("i", "reads", "sources"),
    [
        (0, -1, [-1]),
        (5, -1, [4]),
        (5, 2, [2]),
        (5, [-1, 2], [4, 2]),
        (5, (-3, 4), [2, 4]),
    ],
)
def test_where_a_layer_reads(i: int, reads: Any, sources: list[int]) -> None:
    assert sources_of(layer(i, reads), frozenset({2})) == sources


@pytest.mark.parametrize("reads", [5, 6, 3, -2, -7, [-1, 3], [], None, 2.0, "2", True, [-1] * 65])
def test_what_is_not_kept_or_no_layer_is_refused(reads: Any) -> None:
    with pytest.raises(CheckpointError, match=r"^model\.5: it "):
        sources_of(layer(5, reads), frozenset({2, 5, 6}))


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return read_checkpoint(GOLDEN / "ultralytics_own_stripped.pt")


def changed(checkpoint: Checkpoint, i: int, path: str = "", **attributes: Any) -> Checkpoint:
    """Layer ``i``, or a module inside, with other attributes."""
    layers = list(checkpoint.layers)
    layers[i] = _with(layers[i], path.split(".") if path else [], attributes)
    return replace(checkpoint, layers=tuple(layers))


def _with(m: Module, path: list[str], attributes: Mapping[str, Any]) -> Module:
    if not path:
        kind = str(attributes.get("kind", m.kind))
        return replace(m, kind=kind, attributes={**m.attributes, **attributes})
    children = {**m.children, path[0]: _with(m.child(path[0]), path[1:], attributes)}
    return replace(m, children=children)


HEAD = 11
MISFITS: Mapping[str, tuple[int, str, dict[str, Any], type[DetqError], str]] = {
    "an unknown class": (
        *(4, "", {"kind": "ultralytics.nn.modules.block.C2PSA"}, UnsupportedBlockError),
        r"^model\.4: there is no builder for ultralytics\.nn\.modules\.block\.C2PSA",
    ),
    "a class inside": (
        *(4, "m.0.cv1.act", {"kind": "torch.nn.modules.activation.Tanh"}, UnsupportedBlockError),
        r"^model\.4\.m\.0\.cv1\.act: there is no builder for .*Tanh",
    ),
    "rows side by side": (9, "", {"d": 2}, UnsupportedBlockError, r"^model\.9: .*only channels"),
    "sizes that differ": (9, "", {"f": [-1, 7]}, CheckpointError, r"^model\.9: joins "),
    "too many poolings": (6, "", {"n": 17}, UnsupportedBlockError, r"^model\.6: .*17 poolings"),
    "a shortcut that does not fit": (6, "", {"add": "yes"}, CheckpointError, "add is 'yes'"),
    "two inputs": (10, "", {"f": [-1, 7]}, CheckpointError, r"^model\.10: 2 inputs for a C2f"),
    "a head of another kind": (
        *(HEAD, "", {"kind": "ultralytics.nn.modules.head.Pose"}, UnsupportedBlockError),
        r"^model\.11: .*only Detect is read",
    ),
    "classes that differ": (HEAD, "", {"nc": 4}, CheckpointError, "3 channels of cv3, not 4"),
    "bins that differ": (HEAD, "", {"reg_max": 8}, CheckpointError, "64 channels of cv2, not 32"),
    "one level more": (HEAD, "", {"f": [10, 7, 7]}, CheckpointError, "not those of 3 features"),
    "levels that are swapped": (HEAD, "", {"f": [7, 10]}, CheckpointError, r"^model\.11"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_each_misfit_is_told_at_its_place(checkpoint: Checkpoint, name: str) -> None:
    i, path, attributes, kind, text = MISFITS[name]
    with pytest.raises(kind, match=text):
        source_from_checkpoint(changed(checkpoint, i, path, **attributes), (64, 64))


def test_a_second_set_of_predictions_is_refused(checkpoint: Checkpoint) -> None:
    head = checkpoint.layers[-1]
    twice = replace(head, children={**head.children, "one2one_cv2": head.child("cv2")})
    other = replace(checkpoint, layers=(*checkpoint.layers[:-1], twice))
    with pytest.raises(UnsupportedBlockError, match="it also holds one2one_cv2"):
        source_from_checkpoint(other, (64, 64))


def test_strides_must_be_those_of_the_levels(checkpoint: Checkpoint) -> None:
    for strides in ((8, 32), (8,)):
        with pytest.raises(CheckpointError, match=r"^model\.11: .*stride"):
            source_from_checkpoint(replace(checkpoint, strides=strides), (64, 64))


def test_a_layer_is_never_passed_over(checkpoint: Checkpoint) -> None:
    kept = [i for i in checkpoint.root.attributes["save"] if i != 7]
    root = replace(checkpoint.root, attributes={**checkpoint.root.attributes, "save": kept})
    with pytest.raises(CheckpointError, match="no earlier layer that is kept"):
        source_from_checkpoint(replace(checkpoint, root=root), (64, 64))


def test_a_size_that_does_not_fit_names_the_next(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="next valid size is 48x64"):
        source_from_checkpoint(checkpoint, (40, 64))
