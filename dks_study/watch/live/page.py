"""The page as one HTML file: a snapshot and the script that draws it, in the browser.

Everything of a study enters as JSON and is shown as text, so that no name or error can be markup.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, Template

from dks_study.watch.live.snapshot import Snapshot

_HERE = Path(__file__).parent
FILE_EVERY_S, LIVE_EVERY_S = 30, 2  # how often a page is loaded anew, or asks for new numbers


def filed(snapshot: Snapshot) -> str:
    """Return the page of a study as a file, which a browser loads anew every half a minute."""
    return _filled(study_data(snapshot), snapshot.name)


def served(snapshot: Snapshot, nonce: str, *, alone: bool) -> str:
    """Return the page of a study beside a server's `data`; unless it is `alone` it leads back to the others.

    `nonce` is that of the server's Content-Security-Policy.
    """
    return _filled(study_data(snapshot), snapshot.name, live=True, nonce=nonce, alone=alone)


def side_by_side(snapshots: Sequence[Snapshot], nonce: str) -> str:
    """Return the page of a folder of studies beside a server's `data`."""
    return _filled(studies_data(snapshots), f"{len(snapshots)} studies", live=True, nonce=nonce)


def study_data(snapshot: Snapshot) -> dict[str, Any]:
    """Return what the page of a study is drawn from, as JSON holds it."""
    return asdict(snapshot)


def studies_data(snapshots: Sequence[Snapshot]) -> list[dict[str, Any]]:
    """Return the same of studies side by side: without their curves."""
    return [asdict(replace(each, searches=(), curves=(), lost=())) for each in snapshots]


def _filled(
    data: dict[str, Any] | list[dict[str, Any]], title: str, *, live: bool = False, nonce: str = "", alone: bool = True
) -> str:
    every_s = LIVE_EVERY_S if live else FILE_EVERY_S
    words = {"data": data, "title": title, "live": live, "every_s": every_s, "nonce": nonce, "alone": alone}
    return _template().render(**words, **_parts())


@cache
def _template() -> Template:
    text = (_HERE / "page.html.jinja").read_text(encoding="utf-8")
    return Environment(autoescape=True, trim_blocks=True).from_string(text)


@cache
def _parts() -> dict[str, str]:
    return {
        "style": (_HERE / "page.css").read_text(encoding="utf-8"),
        "charts": (_HERE / "charts.js").read_text(encoding="utf-8"),
        "script": (_HERE / "page.js").read_text(encoding="utf-8"),
    }
