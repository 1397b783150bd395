"""Studies that are kept elsewhere: what is copied of them, and that their trials can be taken."""

from donors import CELL, TRIAL, adoption

from dks_study.study.donors import studies_in
from dks_study.study.identity import read_origin
from dks_study.study.pulling import pulled


def test_a_study_that_is_kept_elsewhere_gives_its_trials_too(donor, files):
    url = donor.parent.as_uri()
    (copy,) = studies_in(pulled(url))
    assert copy.name == donor.name
    assert copy.parent != donor.parent
    assert list(donor.rglob("*.pt"))
    assert not list(copy.rglob("*.pt")), "checkpoints stay where they are"
    assert adoption(files, copy).take(CELL, TRIAL, None)
    assert read_origin(files.trial(CELL.id)).adopted_from == donor.name
    assert studies_in(pulled(donor.as_uri()))[0].name == donor.name, "the URL may be that of one study"


def test_what_was_copied_before_is_copied_again_only_if_it_has_changed(donor):
    (copy,) = studies_in(pulled(donor.parent.as_uri()))
    before = {path: path.stat().st_ino for path in copy.rglob("*") if path.is_file()}
    (copy / "trials" / CELL.id / "trial.json.0a1b2c3d").write_text("a copy that was cut short")
    (donor / "trials" / CELL.id / "log.txt").unlink()
    with (donor / "ledger.jsonl").open("a") as file:
        file.write('{"again": "nothing"}\n')
    pulled(donor.parent.as_uri())
    after = {path: path.stat().st_ino for path in copy.rglob("*") if path.is_file()}
    assert {path.name for path in before.keys() - after.keys()} == {"log.txt"}
    assert not after.keys() - before.keys()
    assert {path.name for path in after if after[path] != before[path]} == {"ledger.jsonl"}
    assert (copy / "ledger.jsonl").read_bytes() == (donor / "ledger.jsonl").read_bytes()
