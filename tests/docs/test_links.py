from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import PAGES, ROOT, anchors_of, links_of, name_of


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    assert [link for link in links_of(page) if not leads_somewhere(page, link)] == []


def leads_somewhere(page: Path, link: str) -> bool:
    parts = urlsplit(link)
    if parts.scheme:
        return parts.scheme == "https"  # other people's pages are not asked
    there = page.parent / parts.path if parts.path else page
    inside = there.exists() and there.resolve().is_relative_to(ROOT)
    return inside and (not parts.fragment or parts.fragment in anchors_of(there))


def test_a_broken_link_is_seen() -> None:
    page = ROOT / "README.md"
    for link in ("docs/nowhere.md", "docs/demo.md#nowhere", "#nowhere", "../..", "http://a.b"):
        assert not leads_somewhere(page, link)
    for link in ("docs/demo.md", "docs/demo.md#the-pictures", "#start", "configs/"):
        assert leads_somewhere(page, link)


def test_there_are_pages_and_links() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/quickstart.md"} <= set(map(name_of, PAGES))
    assert sum(len(links_of(page)) for page in PAGES) > 30


def test_the_index_leads_to_every_page_of_the_docs() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in links_of(index)}
    pages = {page for page in PAGES if page.parent == index.parent and page != index}
    assert [name_of(page) for page in sorted(pages - linked)] == []
    assert index in [(ROOT / link).resolve() for link in links_of(ROOT / "README.md")]


def test_anchors_are_made_as_github_makes_them(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# A `b-c` (d), e!\n\n## Same\n\n## Same\n\n## 7. Where, what?\n")
    assert anchors_of(page) == {"a-b-c-d-e", "same", "same-1", "7-where-what"}
