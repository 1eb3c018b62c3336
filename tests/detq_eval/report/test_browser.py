from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from detq_eval.report.page import page
from tests.detq_eval.report.browser import Browser, chromium
from tests.detq_eval.report.made_runs import HOSTILE, least, metrics, score, whole

# Contrast of every text with what is behind it, as WCAG 2 defines it.
CONTRAST = """(() => {
  const curve = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (c) => curve(c / 255);
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const weak = [];
  for (const e of document.querySelectorAll("header *, main *, footer *")) {
    if (e.closest("svg.boxes") || e.closest(".frame")) continue;
    const said = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!said) continue;
    const style = getComputedStyle(e);
    const ink = parse(e.ownerSVGElement ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(behind(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) weak.push(e.tagName + " " + e.textContent.trim());
  }
  return weak;
})()"""


SEEN = """[...document.querySelectorAll('{}')]
  .filter((e) => e.checkVisibility() && e.getBoundingClientRect().width > 0)"""
CHANGE = """(() => {{
  const e = document.getElementById('{}'); {}; e.dispatchEvent(new Event('{}'));
}})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = chromium()
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with Browser(program, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {"whole": folder / "whole.html", "least": folder / "least.html"}
    made["whole"].write_text(page(whole()), encoding="utf-8")
    made["least"].write_text(page(least()), encoding="utf-8")
    return made


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["whole", "least"])
def test_a_page_opens_quietly_and_fits(
    browser: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    browser.open(pages[name], width, dark=dark)
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    browser.value("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(CONTRAST) == []
    assert browser.complaints() == []
    asked = browser.asked_for()
    assert asked[0] == pages[name].as_uri()
    assert all(url.startswith("data:") for url in asked[1:])


def test_light_and_dark_differ(browser: Browser, pages: dict[str, Path]) -> None:
    found = []
    for dark in (False, True):
        browser.open(pages["whole"], 1280, dark=dark)
        found.append(browser.value("getComputedStyle(document.body).backgroundColor"))
    assert len(set(found)) == 2


def test_names_on_hover(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["whole"], 1280)
    assert browser.value("document.getElementById('tip').hidden")
    browser.value("document.querySelector('.hit').scrollIntoView({behavior: 'instant'})")
    browser.value("new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")
    place = "(() => { const r = document.querySelector('.hit').getBoundingClientRect(); return "
    x, y = browser.value(place + "[r.x + r.width / 2, r.y + r.height / 2]; })()")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    told = browser.value("document.getElementById('tip').innerText")
    assert told == "stem.conv\n20.0 dB with all before it, 30.0 dB alone"
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert browser.value("document.getElementById('tip').hidden")


def test_the_gallery_is_filtered(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["whole"], 1280)
    captions = SEEN.format(".picture") + ".map((p) => p.innerText[0]).join('')"
    boxes = SEEN.format(".boxes g") + ".length"
    told = "document.getElementById('shown').textContent"
    assert browser.value(captions) == "012345"  # the rest is folded up
    browser.value(CHANGE.format("only-apart", "e.checked = true", "change"))
    assert browser.value(captions) == "1357"
    assert (browser.value(boxes), browser.value(told)) == (4, "4 of 8 shown")
    browser.value(CHANGE.format("only-class", "e.value = 'cat'", "change"))
    assert browser.value(told) == "0 of 8 shown"
    browser.value(CHANGE.format("only-apart", "e.checked = false", "change"))
    assert (browser.value(boxes), browser.value(told)) == (16, "8 of 8 shown")
    options = "[...document.getElementById('only-class').options].map((o) => o.value)"
    assert browser.value(options) == ["", HOSTILE, "cat"]


def test_a_class_is_found(browser: Browser, tmp_path: Path) -> None:
    classes = {f"class {n}": n / 20 for n in range(12)}
    both = [msgspec.structs.replace(score(ap), per_class=classes) for ap in (0.4, 0.3)]
    found = metrics(dict(zip(("float openvino", "openvino openvino"), both, strict=True)))
    file = tmp_path / "many.html"
    file.write_text(page(msgspec.structs.replace(whole(), metrics=found)), encoding="utf-8")
    browser.open(file, 390)
    browser.value("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    rows = SEEN.format("#classes tbody tr") + ".map((row) => row.dataset.name)"
    assert len(browser.value(rows)) == 12
    browser.value(CHANGE.format("class-search", "e.value = 'SS 1'", "input"))
    assert browser.value(rows) == ["class 1", "class 10", "class 11"]
