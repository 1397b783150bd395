"""In what two studies differ."""

import json
import shutil

import adoption
import pytest

from dks_study import cli


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "donor-1"
    adoption.make_up(adoption.study_of("random", 2, 2, 2), folder)
    return folder


@pytest.fixture
def other(made, tmp_path):
    return shutil.copytree(made, tmp_path / "other-1")


def told(capsys, *folders, code=1):
    assert cli.main(["diff", *map(str, folders)]) == code
    return capsys.readouterr().out.splitlines()


def edited(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_copy_does_not_differ(made, other, capsys):
    assert told(capsys, made, other, code=0) == ["Nothing differs."]


def test_keys_versions_machine_and_data_are_told(made, other, capsys):
    def change(content):
        content["resolved"]["trial"]["optimiser"]["lr"] = 0.2
        content["resolved"]["keep"] = "none"
        content["sessions"].append({"code": "c", "numbers": "n", "packages": {"torch": "9"}, "hardware": {}})
        content["data"] = {"fingerprint": "f"}

    edited(other / "provenance.json", lambda content: content["sessions"].append({"packages": {"torch": "8"}}))
    edited(made_copy := shutil.copytree(other, other.parent / "third") / "provenance.json", change)
    lines = told(capsys, other, made_copy.parent)
    assert lines == [
        "trial.optimiser.lr: 0.1 -> 0.2",
        "keep: best_per_arm -> none, which changes no number",
        "code (code): none -> c",
        "code (numbers): none -> n",
        "torch: 8 -> 9",
        "data fingerprint: none -> f",
    ]


def test_numbers_are_told_but_not_what_is_measured_anew(made, other, capsys):
    lines = [json.loads(line) for line in (other / "ledger.jsonl").read_text().splitlines()]
    lines[0]["outcome"]["metrics"]["val/top1/main"] = 1.5
    lines[1]["outcome"]["metrics"]["time/train_s"] = 99.0
    lines[2]["outcome"] = {"status": "failed", "metrics": {}}
    missing = lines.pop()
    (other / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = told(capsys, made, other)
    assert found[0].startswith("trials of the first alone: 1 (")
    assert missing["cell"]["arm"] in found[0]
    assert "val/top1/main" in found[1]
    assert found[1].endswith("-> 1.5")
    assert found[2].endswith(": complete -> failed")
    assert found[3] == f"2 of {len(lines)} trials that both have differ in what they are or in their numbers"


def test_a_folder_that_is_no_study_is_refused(made, tmp_path, capsys):
    assert cli.main(["diff", str(made), str(tmp_path)]) == 2
    assert "provenance.json is missing" in capsys.readouterr().err
