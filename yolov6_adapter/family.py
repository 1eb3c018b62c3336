"""Name a network by what it is made of."""

from collections.abc import Iterator

from detq.torch_file.module import Module

# Channels of the stem are 64 times the width of the published models.
LETTERS = {16: "N", 24: "T", 32: "S", 48: "M", 64: "L"}
# Lite models have one stem; the second block's channels differ.
LITE_LETTERS = {48: "S", 80: "M", 96: "L"}
FORMS = {
    "QARepVGGBlock": "QARepVGG",
    "QARepVGGBlockV2": "QARepVGG",
    "RealVGGBlock": "RepOpt",
    "LinearAddBlock": "RepOpt search",
    "ConvBNReLU": "base",
    "SimConvWrapper": "base",
}
FACE_OUTPUTS = 14  # a box and five points


def family_of(root: Module) -> str:
    """``YOLOv6`` or ``YOLOv6Lite``."""
    return "YOLOv6Lite" if root.child("backbone").name.startswith("Lite") else "YOLOv6"


def variant_of(root: Module) -> str:
    """Size, number of levels, form and generation, such as ``S6`` or ``N RepOpt``.

    A width that was never published is given in channels of the stem.
    """
    if family_of(root) == "YOLOv6Lite":
        return _lite_letter(root)
    parts = [_letter(root), *_forms(root)]
    generation = _generation(root)
    return " ".join(parts + [f"({generation})"] * (generation != "0.4"))


def _forms(root: Module) -> Iterator[str]:
    backbone, neck, head = (root.child(name) for name in ("backbone", "neck", "detect"))
    form = FORMS.get(backbone.child("stem").name)
    if form:
        yield form
    if any(child.name == "MBLABlock" for child in neck.children.values()):
        yield "MBLA"
    if "seg_preds" in head.children:
        yield "seg"
    if "reg_preds" in head.children and _outputs(head.child("reg_preds")) == FACE_OUTPUTS:
        yield "face"


def _letter(root: Module) -> str:
    channels = _outputs(root.child("backbone").child("stem"))
    six = "6" if "ERBlock_6" in root.child("backbone").children else ""
    letter = LETTERS.get(channels)
    if letter is None:
        return f"{channels}-channel{six and ' P6'}"
    if letter == "L" and _is_deep_mbla(root):
        letter = "X"
    if letter == "S" and _generation(root) == "0.1" and _repeats(root) == 3:
        letter = "tiny"
    return letter + six


def _lite_letter(root: Module) -> str:
    channels = _outputs(root.child("backbone").child("lite_effiblock_2").child("0"))
    return LITE_LETTERS.get(channels, f"{channels}-channel")


def _generation(root: Module) -> str:
    """``0.1`` to ``0.4``, by the classes the code of that time had."""
    neck, head = root.child("neck"), root.child("detect")
    if "obj_preds" in head.children:
        return "0.1"
    if neck.child("reduce_layer0").name.startswith("ConvBN"):
        return "0.4"
    return "0.3" if "Bifusion0" in neck.children else "0.2"


def _is_deep_mbla(root: Module) -> bool:
    block = root.child("backbone").child("ERBlock_3").children.get("1")
    if block is None or block.name != "MBLABlock":
        return False
    return max((len(chain.children) for chain in block.child("m").children.values()), default=0) > 2


def _repeats(root: Module) -> int:
    block = root.child("backbone").child("ERBlock_3").child("1")
    rest = block.children.get("block")
    return 1 + (len(rest.children) if rest else 0)


def _outputs(m: Module) -> int:
    """Channels of the last convolution inside."""
    convolutions = [c for c in _walk(m) if c.name == "Conv2d"]
    if not convolutions:
        raise m.unsupported("it holds no convolution")
    return int(convolutions[-1].array("weight", 4).shape[0])


def _walk(m: Module) -> Iterator[Module]:
    yield m
    for child in m.children.values():
        yield from _walk(child)
