"""A bundle holds what tables and figures need, and nothing that a person would not want to pass on."""

import hashlib
import json
import shutil
import zipfile

import pytest
from made_up import made_up, write

from dks_study import cli
from dks_study.analysis.kept import FOLDER_VARIABLE, kept
from dks_study.analysis.tables.bundle import main
from dks_study.analysis.tables.study import write_tables
from dks_study.spec.base import Problem
from dks_study.study.bundles import BundleError, pack
from dks_study.study.results import load_results


def test_a_bundle_has_the_same_table_and_every_epoch(tmp_path):
    source = write(tmp_path / "study", made_up())
    wanted = write_tables(load_results(source), source)
    assert main([str(source), str(tmp_path / "kept")]) == 0
    assert (tmp_path / "kept" / "table.md").read_text(encoding="utf-8") == wanted
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {
        *("trials.parquet", "epochs.parquet", "provenance.json", "table.md", "table.csv", "settings.csv")
    }
    kept, given = load_results(tmp_path / "kept"), load_results(source)
    assert kept.study == given.study
    assert kept.trials.equals(given.trials)
    assert (kept.epochs[["trial", "epoch"]] == given.epochs[["trial", "epoch"]]).all().all()
    assert (kept.epochs["val/top1/main"] - given.epochs["val/top1/main"]).abs().max() < 1e-4


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with its table."""
    source = write(tmp_path_factory.mktemp("bundled") / "study", made_up())
    write_tables(load_results(source), source)
    return source


@pytest.fixture
def made(study, tmp_path):
    """Its bundle, which may be spoiled."""
    path = tmp_path / "results/study.zip"
    path.parent.mkdir()
    assert cli.main(["bundle", str(study), str(path), "--licence", "CC-BY-4.0"]) == 0
    return path


def test_a_bundle_is_the_same_to_the_last_byte_when_it_is_made_again_elsewhere(study, made, tmp_path):
    moved = shutil.copytree(study, tmp_path / "elsewhere/study")  # other times, another place
    assert cli.main(["bundle", str(moved), str(tmp_path / "again.zip"), "--licence", "CC-BY-4.0"]) == 0
    assert (tmp_path / "again.zip").read_bytes() == made.read_bytes()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_bundle_says_of_every_file_what_it_is(study, made):
    with zipfile.ZipFile(made) as bundle:
        held = {name: bundle.read(name) for name in bundle.namelist()}
    graph = {part["@id"]: part for part in json.loads(held.pop("ro-crate-metadata.json"))["@graph"]}
    assert graph["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = graph["./"]
    assert {part["@id"] for part in root["hasPart"]} == held.keys()
    assert {*held} >= {"provenance.json", "trials.parquet", "epochs.parquet", "table.md", "CITATION.cff", "LICENSE"}
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    for name, content in held.items():
        assert graph[name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert int(graph[name]["contentSize"]) == len(content)
        assert name in ("CITATION.cff", "LICENSE") or content == (study / name).read_bytes()
    assert root["citation"]["@id"] in graph
    assert root["mentions"]["@id"] in graph


def test_report_and_notebooks_read_a_bundle(study, made, capsys, monkeypatch):
    assert cli.main(["report", str(made)]) == 0
    beside = made.with_name("study-report")
    assert capsys.readouterr().out.endswith(f"report: {beside / 'report.html'}\n")
    assert (beside / "latex/results.tex").is_file()
    assert load_results(study).study.question in (beside / "report.html").read_text()
    known = load_results(made)
    for place in (made, made.parent):
        monkeypatch.setenv(FOLDER_VARIABLE, str(place))
        assert kept(known.study.name, known.study.profile).trials.equals(known.trials)


def test_without_a_licence_it_is_said(study, capsys):
    assert cli.main(["bundle", str(study)]) == 0
    path = study.with_name("study.zip")
    assert capsys.readouterr().out.startswith(f"bundle: {path}\nNo licence is given")
    with zipfile.ZipFile(path) as bundle:
        assert "LICENSE" not in bundle.namelist()
        assert b'"license"' not in bundle.read("ro-crate-metadata.json")


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def emptied(path):
    path.write_bytes(b"")


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def without(name):
    def change(path):
        with zipfile.ZipFile(path) as bundle:
            held = {each: bundle.read(each) for each in bundle.namelist() if each != name}
        pack(held, path)

    return change


def replaced(name, content):
    def change(path):
        with zipfile.ZipFile(path) as bundle:
            held = {each: bundle.read(each) for each in bundle.namelist()}
        pack({**held, name: content}, path)

    return change


def rewritten(name, content):
    """Replaced, and told so in the metadata."""

    def change(path):
        with zipfile.ZipFile(path) as bundle:
            parts = json.loads(bundle.read("ro-crate-metadata.json"))["@graph"]
        known = [
            {**part, "sha256": hashlib.sha256(content).hexdigest()} if part["@id"] == name else part for part in parts
        ]
        replaced("ro-crate-metadata.json", json.dumps({"@graph": known}).encode())(path)
        replaced(name, content)(path)

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "is no bundle of a study, or damaged (File is not a zip file): get it anew"),
        (emptied, "is no bundle of a study, or damaged (File is not a zip file): get it anew"),
        (flipped, "damaged"),
        (without("ro-crate-metadata.json"), "must be a bundle of a study, with ro-crate-metadata.json in it"),
        (without("trials.parquet"), "is damaged: trials.parquet must be what ro-crate-metadata.json says of it"),
        (replaced("table.md", b"better"), "is damaged: table.md must be what ro-crate-metadata.json says of it"),
        (replaced("ro-crate-metadata.json", b"{}"), "must be a bundle of a study, with ro-crate-metadata.json in it"),
        (replaced("ro-crate-metadata.json", b"["), "is no bundle of a study, or damaged"),
        (replaced("ro-crate-metadata.json", b'{"@graph": [{"sha256": "x"}]}'), "must be a bundle of a study"),
        (replaced("ro-crate-metadata.json", b'{"@graph": 3}'), "is no bundle of a study, or damaged"),
        (replaced("ro-crate-metadata.json", b'{"@graph": []}'), "must be a bundle of a study, with provenance.json in"),
        (rewritten("provenance.json", b"{}"), "/provenance.json: is damaged: put a copy back"),
        (rewritten("trials.parquet", b"PAR1"), "/trials.parquet: is damaged"),
    ],
)
def test_a_damaged_bundle_is_one_line(made, capsys, damage, message):
    damage(made)
    with pytest.raises(Problem):
        load_results(made)
    assert cli.main(["report", str(made)]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith(f"dks-study report: {made}")
    assert message in err


def test_nothing_of_a_bundle_is_written_elsewhere(made, tmp_path):
    evil = hashlib.sha256(b"x").hexdigest()
    graph = {"@graph": [{"@id": name, "sha256": evil} for name in ("../evil", "/evil", "a/b")]}
    pack({"../evil": b"x", "/evil": b"x", "a/b": b"x", "ro-crate-metadata.json": json.dumps(graph).encode()}, made)
    with pytest.raises(BundleError, match=r"\.\./evil must be what"):
        load_results(made)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: RESULTS"),
        (("nowhere",), "nowhere: not the results of a study: provenance.json is missing"),
        (("nowhere", "kept"), "nowhere: not the results of a study: provenance.json is missing"),
        (("STUDY", "a", "b"), "unrecognized arguments: b"),
        (
            ("STUDY", "a.zip", "--licence", "CC BY"),
            "--licence: must be an SPDX identifier such as CC-BY-4.0, got 'CC BY'",
        ),
        (("STUDY", "a.zip", "--licence", ""), "--licence: must be an SPDX identifier such as CC-BY-4.0, got ''"),
        (
            ("STUDY", "a.zip", "--licence", "../x"),
            "--licence: must be an SPDX identifier such as CC-BY-4.0, got '../x'",
        ),
        (("STUDY", "kept", "--licence", "MIT"), "--licence: belongs to a bundle that is a zip, got 'MIT'"),
        (("STUDY", "no/such/a.zip"), "bundle: no/such/a.zip.tmp: No such file or directory"),
        (("STUDY", "/proc/kept"), "bundle: /proc/kept: No such file or directory"),
        (("STUDY/table.md",), "RESULTS: must be the folder of a study, got the file "),
        (("STUDY", ""), "TO: must be a file or a folder, got ''"),
        (("STUDY", "STUDY"), "TO: must be another folder than RESULTS, got "),
    ],
)
def test_wrong_words_and_folders_get_one_line_and_status_2(study, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bundle", *(word.replace("STUDY", str(study)) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("dks-study: ")
    assert message in err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def other(study, tmp_path):
    """Another study: begun at another time."""
    folder = shutil.copytree(study, tmp_path / "other")
    known = json.loads((folder / "provenance.json").read_text())
    known["sessions"][0]["started"] = "2020-01-01T00:00:00+00:00"
    (folder / "provenance.json").write_text(json.dumps(known))
    return folder


def held(path):
    if path.is_file():
        return path.read_bytes()
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


def refused(study, target, capsys, message):
    before, _ = held(target), capsys.readouterr()
    assert cli.main(["bundle", str(study), str(target)]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"dks-study: TO: must {message.replace('TARGET', str(target))}\n")
    assert held(target) == before
    assert not list(target.parent.glob("*.tmp"))


def test_a_bundle_is_written_over_an_earlier_one_of_the_study_alone(study, other, tmp_path, capsys):
    message = "be empty, or be an earlier bundle of this study, got TARGET, which is not"
    kept = tmp_path / "kept"
    kept.mkdir()
    for _ in range(2):
        assert main([str(study), str(kept)]) == 0
    refused(study, other, capsys, message)
    refused(other, kept, capsys, message)
    (kept / "ledger.jsonl").touch()  # the study itself, moved
    refused(study, kept, capsys, message)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/provenance.json").write_text('{"study": 1, "study_hash": 2, "sessions": {}}')
    refused(study, tmp_path / "photos", capsys, message)


def test_a_zip_is_written_over_an_earlier_one_of_the_study_alone(study, other, made, tmp_path, capsys):
    assert main([str(study), str(made)]) == 0
    message = "not be there yet, or be an earlier bundle of this study, got TARGET, which is not"
    refused(other, made, capsys, message)
    (tmp_path / "mine.zip").write_bytes(b"photos")
    refused(study, tmp_path / "mine.zip", capsys, message)


def test_the_end_of_a_name_says_zip_in_capitals_too_and_a_folder_is_none(study, tmp_path, capsys):
    assert main([str(study), str(tmp_path / "A.ZIP")]) == 0
    assert load_results(tmp_path / "A.ZIP").study == load_results(study).study
    (tmp_path / "in.zip").mkdir()
    refused(study, tmp_path / "in.zip", capsys, "be a file if it ends in .zip, got TARGET, which is none")


def test_nothing_is_left_of_a_bundle_that_cannot_be_written(tmp_path):
    (tmp_path / "a.zip").mkdir()
    with pytest.raises(OSError, match="directory"):
        pack({"a": b"x"}, tmp_path / "a.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
