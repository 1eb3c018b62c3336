import re
from html.parser import HTMLParser

import msgspec
import pytest

from detq_eval.report.page import page
from detq_eval.report.records import Learned, Splits
from tests.detq_eval.report.made_runs import HOSTILE, least, metrics, score, whole

VOID = {"meta", "link", "br", "input", "wbr"}
SECTIONS = ["accuracy", "speed", "gallery", "layers", "placement", "calibration", "again"]


class Reader(HTMLParser):
    """Every tag must be closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(filter(None, self.texts))

    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.tags if "id" in attributes]


RUNS = {
    "least": least(),
    "whole": whole(),
    "accuracy alone": msgspec.structs.replace(
        least(),
        metrics=metrics({"float openvino": score(0.4), "openvino openvino": score(0.3)}),
    ),
    "float alone": msgspec.structs.replace(
        least(), metrics=metrics({"float openvino": score(0.4, "float.onnx")})
    ),
    "no statistics": msgspec.structs.replace(whole(), stats=None),
    "no layers": msgspec.structs.replace(whole(), layers=None),
    "not run in torch": msgspec.structs.replace(
        whole(), layers=msgspec.structs.replace(whole().layers, layers=())
    ),
    "no placement": msgspec.structs.replace(whole(), placement=None),
    "agreeing": msgspec.structs.replace(
        whole(), gallery=msgspec.structs.replace(whole().gallery, pictures=())
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_run_has_every_section(name: str) -> None:
    html = page(RUNS[name])
    found = Reader(html)
    assert [part for part in found.ids() if part in SECTIONS] == SECTIONS
    assert len(set(found.ids())) == len(found.ids())
    links = {attributes.get("href") for tag, attributes in found.tags if tag == "a"}
    assert links == {f"#{part}" for part in SECTIONS}


@pytest.mark.parametrize("name", RUNS)
def test_a_page_needs_nothing_from_anywhere(name: str) -> None:
    html = page(RUNS[name])
    found = Reader(html)
    for tag, attributes in found.tags:
        assert "src" not in attributes, tag
        assert (attributes.get("href") or "#").startswith(("#", "data:")), attributes
    assert re.findall(r"(?:https?:)?//[a-z]", html) == []
    assert set(re.findall(r"url\(([a-z]+):", html)) <= {"data"}
    assert "@import" not in html


@pytest.mark.parametrize("name", RUNS)
def test_what_users_named_is_text(name: str) -> None:
    html = page(RUNS[name])
    assert "<script>alert" not in html
    found = Reader(html)
    assert sum(tag == "script" for tag, _ in found.tags) == 1
    if name == "whole":
        assert found.text.count(HOSTILE) > 10


def test_figures_are_those_of_the_records() -> None:
    text = Reader(page(whole())).text
    for told in (
        "40.00 → 37.50", "−2.50", "50.00 → 47.50", "few images", "4.00", "3.60 to 4.80",
        "2.00 ×", "9 of 10", "90.00 7 2 1 −0.020", "4 of 10 images",
    ):  # fmt: skip
        assert told in text, told
    assert "1 image, drawn with seed 3; labels were not read. 1 could not be read." in text
    assert "1 of 2 layers with weights stay float. 1 float boxes & scores" in text
    assert "2 tensors, −128 to 127" in text
    assert "30.0 dB alone · stem.conv" in text


def test_what_is_missing_is_said_to_be_missing() -> None:
    text = Reader(page(least())).text
    for told in (
        "nothing was measured", "Accuracy was not measured:", "Speed was not measured:",
        "No pictures:", "the folder has no layers.json", "the folder has no placement",
        "the folder has no calibration.json",
    ):  # fmt: skip
        assert told in text, told
    assert (
        "torch cannot run this file layer by layer" in Reader(page(RUNS["not run in torch"])).text
    )
    assert "the two models agree on all of them" in Reader(page(RUNS["agreeing"])).text
    assert "No INT8 file was scored" in Reader(page(RUNS["float alone"])).text


def test_each_picture_is_in_the_page_once() -> None:
    run = whole()
    assert run.gallery is not None
    html = page(run)
    assert html.count(run.gallery.pictures[0].jpeg) == len(run.gallery.pictures)
    shown = [a for tag, a in Reader(html).tags if (a.get("class") or "").startswith("frame ")]
    assert [a["class"] for a in shown[:4]] == ["frame p1", "frame p1", "frame p2", "frame p2"]
    assert len(shown) == 2 * len(run.gallery.pictures)


def test_layers_worth_a_look_are_drawn() -> None:
    html = page(whole())
    assert html.count('class="histogram"') == 1
    assert html.count('class="columns"') == 2
    without = page(RUNS["no statistics"])
    assert 'class="histogram"' not in without
    assert "its input was not looked at" in without


def test_what_was_learned_and_split() -> None:
    found = msgspec.structs.replace(
        whole().metrics,
        learned={
            "openvino": (
                Learned({"method": "abc"}, 32, True, 12.4, 20.04, 21.5),
                Learned({"method": "<b>"}, 8, False, 1.0, 21.5, None),
            ),
            "plain": (Learned({"method": "another"}, 8, True, 1.0, 1.0, 2.0),),
        },
        coarse_fine={"openvino": Splits(3, 40, 0.0712)},
    )
    text = Reader(page(msgspec.structs.replace(whole(), metrics=found))).text
    assert "abc 32 20.0 dB 21.5 dB kept 12 s <b> 8 21.5 dB – put back 1 s" in text
    assert "another" not in text
    assert "3 of 40 kernels are split into a coarse and a fine one, 7.12\u00a0% more work." in text
    assert "put back 1 s" not in Reader(page(whole())).text
