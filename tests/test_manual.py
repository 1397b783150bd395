"""The manual is built strictly, has every key, asks no other host for anything, and can be searched from its files."""

import asyncio
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser import PROGRAM, browser_page

from dks_study.spec.keys import all_specs, words_of
from dks_study.spec.study import StudySpec

ROOT = Path(__file__).resolve().parent.parent
LOADED = {"src", "srcset", "data-src", "poster"}  # attributes that make a browser load what they name
pytestmark = pytest.mark.slow
# Pages of all kinds, and words that each shows: formulas, tables, code, a picture, what is generated.
LOOKED_AT = {
    "method/formulas.html": "Who teaches whom",
    "index.html": "knowledge synergy",
    "reference/keys.html": "Keys",
}
LOOKED_AT |= {"reference/glossary.html": "interval of the procedure"}
LOOKED_AT |= {"guides/watch.html": "Prometheus", "how-fast/page_cost.html": "page of a running"}
PARTS = ("mkdocs", "material", "mkdocstrings", "latex2mathml")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    missing = [name for name in PARTS if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("manual") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return folder


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to at."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.anchors = set(), set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Sort the attributes of one element."""
        found = {key: value or "" for key, value in attrs}
        self.anchors |= {found[key] for key in ("id", "name") if key in found}
        self.loaded |= {value for key, value in found.items() if key in LOADED}
        if "href" in found:
            (self.loaded if tag == "link" else self.links).add(found["href"])


@pytest.fixture(scope="module")
def parsed(site):
    pages = (path for path in site.rglob("*.html") if path.name != "404.html")  # whose links are a server's
    return {path.resolve(): Page(path) for path in pages}


def test_every_page_of_the_manual_is_there(site, parsed):
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file()
    assert {path.name for path in (site / "how-fast").iterdir()} > {"index.html", "train_step.html", "tuned.html"}
    assert len(parsed) > 40


def test_every_link_leads_to_a_page_or_an_element_that_is_there(parsed):
    for path, page in parsed.items():
        for link in page.links - {"."}:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / parts.path).resolve() if parts.path else path
            assert target.exists(), f"{path.name}: {link}"
            if parts.fragment and not parts.fragment.startswith("__"):
                assert parts.fragment in parsed[target].anchors, f"{path.name}: {link}"


def test_no_page_loads_anything_from_another_host(site, parsed):
    for path, page in parsed.items():
        assert [each for each in page.loaded if urlsplit(each).netloc] == [], path
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']+", styles) == []


def test_no_page_names_a_place_on_this_machine(site):
    here = [str(ROOT), str(Path.home()) + "/", sys.prefix]
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert [place for place in here if len(place) > 2 and place in text] == [], path


def test_the_page_of_keys_has_every_key_with_its_words(site):
    text = re.sub(r"<[^>]+>", "", (site / "reference/keys.html").read_text(encoding="utf-8"))
    plain = " ".join(text.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&").split())
    for spec in all_specs(StudySpec):
        for key, words in words_of(spec).items():
            assert f"{key} {' '.join(words.replace('`', '').split())}"[:60] in plain, (spec, key)


def test_no_row_of_a_table_is_shown_as_text(site):
    for path in site.rglob("*.html"):
        text = re.sub(r"<pre.*?</pre>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert re.findall(r"^(?:<p>)?\|.*\|(?:</p>)?$", text, re.MULTILINE) == [], path


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_pages_fit_and_can_be_read(site, tmp_path, width, scheme):
    async def look():
        async with browser_page(tmp_path / "profile", width=width, scheme=scheme) as page:
            for name, word in LOOKED_AT.items():
                await page.open((site / name).as_uri())
                await page.text_with(word)
                (tmp_path / f"{Path(name).stem}.png").write_bytes(await page.picture())
                looks = await page.looks("article")
                assert looks["width"] == width
                assert looks["over"] <= 0, name
                assert (looks["background"] < 0.1) == (scheme == "dark"), name
                assert looks["contrast"] > 4, (name, looks)  # the theme's own

    asyncio.run(look())


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium")
def test_a_browser_shows_and_searches_it_from_its_files_alone(site, tmp_path):
    async def look():
        async with browser_page(tmp_path / "profile", width=390) as page:
            await page.open((site / "method/formulas.html").as_uri())
            await page.text_with("Who teaches whom")
            assert await page.evaluate("document.querySelectorAll('math msub').length") > 3
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than a phone"
            await page.evaluate("document.querySelector('[data-md-toggle=search]').click()")
            await page.type("[data-md-component=search-query]", "temperature_squared")
            await page.evaluate(
                "document.querySelector('[data-md-component=search-query]').dispatchEvent(new Event('keyup'))"
            )
            found = await page.text_with("matching document")
            assert "Keys" in found
            script = "performance.getEntriesByType('resource').map(each => each.name)"
            assert [
                name for name in await page.evaluate(script) if not name.startswith(("file:", "blob:", "data:"))
            ] == []

    asyncio.run(look())
