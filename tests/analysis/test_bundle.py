"""A bundle holds what tables and figures need, and nothing that a person would not want to pass on."""

from made_up import made_up
from test_report import write

from dks_study.analysis.tables.bundle import main
from dks_study.analysis.tables.study import write_tables
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


def test_wrong_words_and_folders_get_one_line_and_status_2(tmp_path, capsys):
    assert main([]) == 2
    assert main([str(tmp_path), str(tmp_path / "kept")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not (tmp_path / "kept").exists()
