"""Which files a module runs, and that a hash of them sees every change of one."""

import sys
from pathlib import Path

import pytest

from dks_study.study import sources as module
from dks_study.study.sources import PLANS, TRIALS, UnknownSourceError, code_of, sources

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("method", "training")
# Of these rooms, what makes no number of a trial: whatever is new stands here or is hashed.
NO_NUMBERS = {
    *("method.own_loop", "method.own_loss", "training.arm_checks", "training.data.checking", "training.data.examining"),
    *("training.data.fingerprint", "training.data.remembered"),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A user's package: network -> blocks (inside of a function) -> .sizes; unused is not imported."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    files = {
        "__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import unused\n",
        "network.py": f"import torch\nimport beside_{name}\n\ndef net():\n    from {name} import blocks\n",
        "blocks.py": "from .deep import sizes\n",
        "deep/__init__.py": "",
        "deep/sizes.py": "from .. import constants\nWIDTH = 4\n",
        "constants.py": "PI = 3\n",
        "unused.py": "X = 1\n",
    }
    for file, text in files.items():
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / f"beside_{name}.py").write_text("Y = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    code_of.cache_clear()
    yield tmp_path / name
    code_of.cache_clear()


def hashed(package):
    code_of.cache_clear()
    return code_of((f"{package.name}.network",))


def test_what_is_imported_anywhere_in_a_file_counts_and_nothing_is_run(package):
    name = package.name
    expected = {"", ".network", ".blocks", ".deep", ".deep.sizes", ".constants"}
    assert sources(f"{name}.network").keys() == {f"{name}{tail}" for tail in expected} | {f"beside_{name}"}
    assert name not in sys.modules


def test_every_file_changes_the_hash_and_no_other_one_does(package):
    before = hashed(package)
    for path in (*package.rglob("*.py"), package.parent / f"beside_{package.name}.py"):
        text = path.read_text()
        path.write_text(text + "# another line\n")
        assert (hashed(package) == before) == (path.name == "unused.py"), path
        path.write_text(text)
    assert hashed(package) == before


def test_text_that_moves_from_file_to_file_is_seen(package):
    before = hashed(package)
    (package / "constants.py").write_text("")
    (package / "deep" / "sizes.py").write_text("from .. import constants\nWIDTH = 4\nPI = 3\n")
    assert hashed(package) != before


def test_a_package_that_is_installed_counts_alone():
    assert all(name.partition(".")[0] == "yaml" for name in sources("yaml"))
    assert "yaml.constructor" in sources("yaml")


@pytest.mark.parametrize("name", ["no_such_module_anywhere", "sys"])
def test_a_module_without_source_is_refused(name):
    with pytest.raises(UnknownSourceError, match="source file"):
        code_of((name,))


def test_a_file_that_is_no_python_is_refused(package):
    (package / "blocks.py").write_text("def (\n")
    with pytest.raises(UnknownSourceError, match=r"blocks\.py"):
        hashed(package)


def test_all_that_can_change_a_number_is_hashed():
    """A new module of these rooms that trials do not import must be named here, with care."""
    known = {str(path.relative_to(ROOT)) for name in TRIALS for path in sources(name).values()}
    there = {str(path.relative_to(ROOT)) for room in ROOMS for path in (ROOT / "dks_study" / room).rglob("*.py")}
    others = {path.removeprefix("dks_study/").removesuffix(".py").replace("/", ".") for path in there - known}
    assert others <= NO_NUMBERS
    assert not {path.split("/")[1] for path in known} & {"engine", "watch", "analysis", "cli.py", "studies.py"}


def test_what_plans_a_study_is_hashed_with_it():
    known = {name for plan in PLANS for name in sources(plan)}
    assert {"dks_study.study.planner", "dks_study.study.search", "dks_study.spec.space"} <= known
    assert code_of((*TRIALS, *PLANS)) != code_of(TRIALS)
    assert module.__name__ in sources(TRIALS[0])  # how identities are made is part of them
