from xml.etree import ElementTree

from detq_eval.report.gallery import Box, Picture
from detq_eval.report.overlay import overlay


def picture(*boxes: Box) -> Picture:
    return Picture(
        name="a.jpg", width=200, height=100, jpeg="", disagreement=1.0, reference=boxes, other=()
    )


def groups(*boxes: Box) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(overlay(picture(*boxes), boxes))
    assert root.attrib["viewBox"] == "0 0 200 100"
    return list(root.iter("g"))


def test_a_box_stands_where_it_was_found_with_its_name_above() -> None:
    (group,) = groups(Box("cat", 0.876, (50.0, 40.0, 90.0, 80.0), False))
    assert (group.attrib["class"], group.attrib["data-class"]) == ("both", "cat")
    box, plate = group.findall("rect")
    assert [box.attrib[key] for key in ("x", "y", "width", "height")] == [
        "50.0", "40.0", "40.0", "40.0",
    ]  # fmt: skip
    assert float(plate.attrib["y"]) + float(plate.attrib["height"]) == 40.0
    text = group.find("text")
    assert text is not None and text.text == "cat 0.88"


def test_a_name_stays_inside_the_picture() -> None:
    (group,) = groups(Box("a long name", 0.5, (190.0, 1.0, 199.0, 9.0), True))
    _, plate = group.findall("rect")
    assert 0 <= float(plate.attrib["x"]) <= 200 - float(plate.attrib["width"])
    assert float(plate.attrib["y"]) >= 0


def test_what_one_model_alone_has_is_on_top_then_the_best() -> None:
    found = groups(
        Box("a", 0.9, (0, 0, 9, 9), False),
        Box("b", 0.3, (0, 0, 9, 9), True),
        Box("c", 0.5, (0, 0, 9, 9), False),
    )
    assert [group.attrib["data-class"] for group in found] == ["c", "a", "b"]
    assert [group.attrib["class"] for group in found] == ["both", "both", "alone"]


def test_in_a_crowd_only_the_odd_ones_are_named() -> None:
    crowd = [Box("a", 0.5, (0, 0, 9, 9), False)] * 9
    found = groups(*crowd, Box("b", 0.3, (0, 0, 9, 9), True))
    named = [group.attrib["data-class"] for group in found if group.find("text") is not None]
    assert named == ["b"]
    assert all(group.find("title") is not None for group in found)


def test_names_from_users_are_text() -> None:
    name = "<script>\"&'"
    (group,) = groups(Box(name, 0.5, (0, 0, 9, 9), False))
    assert group.attrib["data-class"] == name
    assert "<script>" not in overlay(picture(), [Box(name, 0.5, (0, 0, 9, 9), False)])
