"""What a study can show, from the spread of an earlier one: --dry-run and --plan-for, on made-up earlier results."""

import json
import subprocess
import sys
from math import inf, isnan

import numpy as np
import pytest
from made_tuned import tuned, tuned_study
from made_up import made_up, write
from scipy import stats

from dks_study.analysis.report.detect import detectable, read_earlier, read_spread, smallest_difference
from dks_study.analysis.report.plan import proposals
from dks_study.analysis.report.reach import compared_arms, out_of_reach
from dks_study.analysis.statistics.planning import Spread, smallest_detectable
from dks_study.analysis.tables.comparisons import comparisons
from dks_study.analysis.tables.study import write_tables
from dks_study.cli import main
from dks_study.study.provenance import same_question

SPREAD = Spread(seed_std=1.5, choice_std=0.6)


def spread_of(results, folder):
    write_tables(results, folder)
    return read_spread(folder / "table.csv")


def test_the_spread_is_the_root_mean_square_over_the_tuned_rows(tmp_path):
    made = tuned(repeats=4, noise=1.0, choice=0.5)
    frame = comparisons(made)
    mine = frame[frame["choice"] == "tuned"]
    found = spread_of(made, tmp_path)
    assert found.seed_std == pytest.approx(np.sqrt((mine["seed_std"] ** 2).mean()))
    assert found.choice_std == pytest.approx(np.sqrt((mine["choice_std"] ** 2).mean()))
    assert spread_of(tuned(repeats=1), tmp_path).choice_std is None, "one search does not tell the luck of searches"
    assert spread_of(tuned(repeats=8), tmp_path).choice_std == 0.0, "it is part of the spread of the seeds"


def test_results_without_any_spread_tell_nothing(tmp_path):
    assert spread_of(made_up(noise=0.0), tmp_path) is None
    assert spread_of(made_up(seeds=1), tmp_path) is None
    assert read_spread(tmp_path / "none.csv") is None


def test_after_one_search_the_settings_alone_can_be_claimed():
    assert detectable(tuned_study(repeats=1), SPREAD) == {"settings": smallest_detectable(1.5, 8, comparisons=2)}
    assert detectable(tuned_study(seeds=5, repeats=1), SPREAD) == {"settings": inf}


def test_with_several_searches_what_is_found_in_four_of_five_studies():
    """Simulated: eight seeds, four searches, two comparisons, of which Holm asks p < 0.025 first."""
    found = detectable(tuned_study(repeats=4), SPREAD)
    random, hits = np.random.default_rng(0), 0
    for _ in range(4000):
        choices, seeds = random.normal(0, 0.6, 4), random.normal(0, 1.5, 8)
        means = found["procedure"] + choices + seeds.reshape(2, 4).mean(axis=0)
        hits += stats.ttest_1samp(means, 0.0).pvalue < 0.025
    assert hits / 4000 == pytest.approx(0.8, abs=0.02)
    assert found["settings"] < found["procedure"]


def test_what_the_luck_of_searches_would_take_is_not_guessed():
    unknown = Spread(seed_std=1.5)
    assert isnan(detectable(tuned_study(repeats=4), unknown)["procedure"])
    assert isnan(detectable(tuned_study(repeats=8), unknown)["procedure"])


def test_seeds_that_holm_never_lets_pass_are_named():
    assert compared_arms(tuned_study()) == 2
    wanted = "2 comparisons cannot reach p < 0.05 after Holm with 6 report seeds: use 7 or more"
    assert out_of_reach(tuned_study(seeds=6, repeats=1)) == wanted
    assert out_of_reach(tuned_study(seeds=7, repeats=1)) is None
    assert out_of_reach(tuned_study(seeds=6, repeats=3)) is None, "t on the means of searches has no smallest p"


@pytest.fixture
def earlier(tmp_path):
    (tmp_path / "results").mkdir()
    made = tuned(repeats=4, noise=1.0, choice=0.5)
    folder = write(tmp_path / "results" / "small-0123456789", made)
    write_tables(made, folder)
    return folder


def test_an_earlier_study_has_the_same_name_data_and_backbone(earlier, tmp_path):
    results = tmp_path / "results"
    assert same_question(tuned_study(repeats=2), [results]) == [earlier]
    wide = made_up(backbone={"name": "wrn", "depth": 10, "width": 1}).study.trial.backbone
    other = tuned_study().trial.model_copy(update={"backbone": wide})
    assert same_question(tuned_study().model_copy(update={"trial": other}), [results]) == []
    (earlier / "provenance.json").write_text("{", encoding="utf-8")
    assert same_question(tuned_study(), [results]) == []


def test_proposals_reach_the_precision_and_their_studies_are_what_they_say(earlier):
    known, study = read_earlier([earlier]), tuned_study()
    found = proposals(study, known, 0.8)
    assert set(found) == {"settings", "procedure"}
    for plan, changed in found.values():
        assert plan.half_width <= 0.8
        assert len(changed.report_seeds) == plan.seeds
        assert changed.search.repeats == plan.searches
    assert found["procedure"][0].searches >= 4
    assert found["settings"][0].searches == 1


def test_the_line_of_a_dry_run_says_where_it_is_from(earlier):
    line = smallest_difference(tuned_study(repeats=4), read_earlier([earlier]))
    assert line.startswith("smallest difference found with 80 % power after Holm: of the procedure ")
    assert str(earlier) in line
    one = smallest_difference(tuned_study(seeds=5, repeats=1), read_earlier([earlier]))
    assert "of the settings none" in one


def described(tmp_path):
    """Write the made-up study as a space and a profile of its own; return the words that name it."""
    values = tuned_study(repeats=4).model_dump(mode="json", by_alias=True, exclude_unset=True)
    profile = {key: values.pop(key) for key in ("trial", "search", "report_seeds")} | {"about": "a test"}
    values.pop("name")
    (tmp_path / "small.yaml").write_text(json.dumps(values | {"profile": "test.yaml"}), encoding="utf-8")
    (tmp_path / "test.yaml").write_text(json.dumps(profile), encoding="utf-8")
    return ["--space", str(tmp_path / "small.yaml"), "--profile", str(tmp_path / "test.yaml")]


def test_the_command_plans_from_earlier_results(earlier, tmp_path, capsys):
    words = [*described(tmp_path), "--results", str(tmp_path / "results")]
    assert main([*words, "--dry-run"]) == 0
    assert "smallest difference found with 80 % power after Holm: of the procedure" in capsys.readouterr().out
    assert main([*words, "--plan-for", "1.0"]) == 0
    printed = capsys.readouterr().out
    assert "To within ±1 points:" in printed
    assert "settings" in printed
    assert "procedure" in printed
    assert f"as in {earlier}" in printed


def test_the_command_does_not_guess_without_earlier_results(tmp_path, capsys):
    words = [*described(tmp_path), "--results", str(tmp_path / "none")]
    assert main([*words, "--dry-run"]) == 0
    assert "smallest difference that it can find: not known" in capsys.readouterr().out
    assert main([*words, "--plan-for", "1.0"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--plan-for: needs the results of an earlier study" in error


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "nan", "inf"])
def test_a_precision_that_makes_no_sense_gets_one_line(wrong, capsys):
    assert main(["--space", "does_it_help", f"--plan-for={wrong}"]) == 2
    error = capsys.readouterr().err
    assert error == f"dks-study: --plan-for: must be a number of points of error above 0, got '{wrong}'\n"


@pytest.mark.parametrize("results", ["none", "results"])
def test_a_dry_run_imports_no_pandas(earlier, tmp_path, results):
    words = [*described(tmp_path), "--results", str(tmp_path / results), "--dry-run"]
    code = f"import sys; from dks_study.cli import main; main({words!r}); sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
