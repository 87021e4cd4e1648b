"""The documentation site builds without a warning, and its pages load nothing from elsewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
NOT_LOADED = {"canonical", "next", "prev", "alternate"}  # kinds of <link> that a browser only notes


class Loads(HTMLParser):
    """Collects the addresses that a browser loads to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in LOADED and values.get("rel") not in NOT_LOADED and (address := values.get(LOADED[tag])):
            self.addresses.append(address)


def loaded(page: str) -> list[str]:
    reader = Loads()
    reader.feed(page)
    return reader.addresses


def elsewhere(address: str) -> bool:
    return re.match(r"(\w+:)?//", address) is not None


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert built.returncode == 0, built.stderr
    return directory


def assert_documents_every_public_name_and_setting(site):
    import start_training

    page = (site / "reference" / "api.html").read_text()
    assert set(re.findall(r'id="start_training\.(\w+)"', page)) == set(start_training.__all__)
    assert "&gt;&gt;&gt;" in page and "<blockquote>" not in page  # examples are code
    assert "callbacks.lengths.every_n_steps" in (site / "reference" / "groups.html").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_site_has_every_page_and_setting_and_its_pages_load_nothing_from_elsewhere(site):
    """In one test, since a second worker would build the site a second time."""
    assert_documents_every_public_name_and_setting(site)
    for page in ROOT.glob("docs/**/*.md"):
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file()
    for page in site.rglob("*.html"):
        addresses = loaded(page.read_text())
        assert addresses and not list(filter(elsewhere, addresses)), page
        for address in addresses:
            assert page.name == "404.html" or (page.parent / re.sub("[?#].*", "", address)).exists(), (page, address)
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import\s*)[\"']?(https?:)?//", style.read_text()), style


def test_what_is_loaded_from_elsewhere_is_found():
    page = '<link rel="stylesheet" href="//a/b.css"><link rel="canonical" href="https://c"><a href="https://d">d</a>'
    assert list(filter(elsewhere, loaded(page))) == ["//a/b.css"]
    assert loaded('<img src="figure.png">') == ["figure.png"]
