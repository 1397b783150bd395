"""The page of a study, and of two side by side, in Chromium: wide and narrow, light and dark."""

import asyncio
import threading
from contextlib import contextmanager

import browser
import pytest
from half_done import RUNNING, half_done, lose, train

from dks_study.study.cell import Cell
from dks_study.watch.live.reading import Studies
from dks_study.watch.live.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium")]
SCHEMES = {"light": (0.7, 1.0), "dark": (0.0, 0.1)}  # how light the page is
LEAST_CONTRAST = 4.5  # of text, by WCAG 2, level AA


@contextmanager
def serving(folder):
    with Server(Studies(str(folder)), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def results(tmp_path):
    """A folder of two studies that this process runs."""
    for name in ("small-1", "small-2"):
        folder = half_done(tmp_path / "results" / name, confirmed=3)
        train(folder)
        lose(folder, Cell("baseline", "confirm", 1, 1, RUNNING.epochs, {}), "no memory")
    return tmp_path / "results"


async def checked(page, width, scheme, tmp_path, name):
    """Hold that a page fits, is in its scheme, and can be read; leave a picture of it."""
    (tmp_path / f"{name}.png").write_bytes(await page.picture())
    looks = await page.looks()
    low, high = SCHEMES[scheme]
    assert looks["width"] == width
    assert looks["over"] <= 0, "wider than its window"
    assert low <= looks["background"] <= high
    assert looks["contrast"] >= LEAST_CONTRAST, looks


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [1200, 390])
def test_studies_side_by_side_and_one_of_them_fit_and_can_be_read(results, tmp_path, width, scheme):
    async def look(url):
        async with browser.browser_page(tmp_path / "profile", width=width, height=900, scheme=scheme) as page:
            await page.open(url)
            await page.text_with("2 studies, 2 running", "small-1", "small-2", "trials")
            await checked(page, width, scheme, tmp_path, "side_by_side")
            places = "[...document.querySelectorAll('article')].map(each => each.getBoundingClientRect().top)"
            first, second = await page.evaluate(places)
            assert (first == second) == (width == 1200), "beside each other, or below where that is too narrow"
            await page.evaluate("document.querySelector('article a').click()")
            await page.text_with("Search history", "Learning curves", "Without a result", "no memory", "Sealed: test")
            await checked(page, width, scheme, tmp_path, "one")
            strokes = (
                "[...document.querySelectorAll('figure > svg polyline')].map(each => getComputedStyle(each).stroke)"
            )
            assert len(set(await page.evaluate(strokes))) == 2, "a colour for each arm"

    with serving(results) as url:
        asyncio.run(look(url))
