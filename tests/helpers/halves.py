"""Studies that are merged: made up, changed so that they must not be, and the command."""

import json
import shutil
from dataclasses import asdict, replace

import adoption
from whole_studies import records

from dks_study import cli
from dks_study.analysis.tables.study import write_tables
from dks_study.spec.files import changed_study
from dks_study.studies import folder_of, read
from dks_study.study.results import write_results

SEEDS = (0, 1, 2, 3, 4)


def study_of(*seeds, arms=2, searches=4):
    """Return a study of which no arm is best as written."""
    changes = [f"report_seeds={list(seeds)}", "trial.optimiser.lr=0.03"]
    return changed_study(adoption.study_of("random", arms, searches, 3), changes)


def make(place, *seeds, **size):
    """Make up a finished study with these seeds in its folder in `place`."""
    study = study_of(*seeds, **size)
    folder = folder_of(study, place)
    adoption.make_up(study, folder)
    return folder


def finished(folder):
    write_results(folder)
    write_tables(read(folder).found, folder)
    return folder


def made_apart(place):
    """Make up a study with three of its seeds, with the other two, and with all; return their folders."""
    return make(place / "a", 0, 1, 2), make(place / "b", 3, 4), finished(make(place / "all", *SEEDS))


def copies(studies, place):
    """Copy studies, so that they may be spoiled."""
    return [shutil.copytree(study, place / study.parent.name / study.name) for study in studies]


def merge(*folders, into, code=0):
    assert cli.main(["merge", *map(str, folders), "--results", str(into)]) == code
    return next(into.glob("donor-*"), None)


def refused(capsys, *folders, into):
    merge(*folders, into=into, code=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert not into.exists()
    return err


def everything(folder):
    """All that a folder is, down to when its files were changed."""
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


def changed(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def in_ledger(folder, trial, edit):
    """Let ledger, outcome and epochs of a trial agree on something else."""
    lines = []
    for record in records(folder):
        if record.cell.id == trial:
            record = edit(record)
            place = folder / "trials" / trial
            (place / "outcome.json").write_text(json.dumps(asdict(record.outcome)))
            (place / "epochs.jsonl").write_text(json.dumps(record.outcome.metrics) + "\n")
        lines.append(json.dumps(asdict(record)) + "\n")
    (folder / "ledger.jsonl").write_text("".join(lines))


def with_metric(name, value):
    return lambda record: replace(
        record, outcome=replace(record.outcome, metrics={**record.outcome.metrics, name: value})
    )
