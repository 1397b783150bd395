"""A study that grows: more seeds, arms and search trials; what is finished is adopted."""

import json
import re
import shutil
import subprocess
import sys

import adoption
import pytest
from whole_studies import ROOT, finish, records

from dks_study import cli
from dks_study.analysis.tables.plans import plan_changed
from dks_study.growing import forecast
from dks_study.spec.files import changed_study
from dks_study.study.donors import donors_in
from dks_study.study.ledger import read_ledger, read_seal
from dks_study.study.provenance import write_provenance
from dks_study.study.results import load_results, load_study_of, write_results
from dks_study.study.sealing import plan_of

SIZE = ("random", 2, 4, 3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished study of two arms with four search trials and three seeds each, that trained nothing."""
    folder = tmp_path_factory.mktemp("results") / "donor-1"
    adoption.make_up(adoption.study_of(*SIZE), folder)
    return folder


def refused(capsys, *words):
    assert cli.main(["grow", *map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    return err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing to change: give --seeds, --arms, --trials, --until or --set"),
        (("--until", "doomsday", "--at-most", "8"), "--until: must be decided, got 'doomsday'"),
        (("--seeds", "8-9999999999"), "--seeds: must be at most 100,000 seeds, got '8-9999999999'"),
        (("--seeds", "8-" + "9" * 5000), "--seeds: must be seeds such as 6-9 or 6,8, got '8-999"),
        (("--seeds", "٨-٩"), "--seeds: must be seeds such as 6-9 or 6,8, got '٨-٩'"),
        (("--until", "decided", "--at-most", "9999999999"), "--at-most: must be at most 100,000, got '9999999999'"),
        (("--until", "decided", "--at-most", "9" * 5000), "--at-most: must be a number of seeds above the "),
        (("--trials", "+" + "9" * 5000), "--trials: must be +N, for a study whose search has a number of trials"),
        (("--until", "decided"), "--at-most: must be a number of seeds above the 3 that are there, got None"),
        (("--until", "decided", "--at-most", "3"), "--at-most: must be a number of seeds above the 3 that are there"),
        (("--until", "decided", "--at-most", "many"), "above the 3 that are there, got 'many'"),
        (("--until", "decided", "--at-most", "8", "--step", "0"), "--step: must be a number of seeds above 0, got '0'"),
        (("--at-most", "8"), "--at-most: must be left out without --until decided, got '8'"),
        (("--step", "2", "--seeds", "4"), "--step: must be left out without --until decided, got '2'"),
        (
            ("--until", "decided", "--at-most", "8", "--seeds", "4"),
            "--seeds: must be left out with --until, which adds seeds itself, got '4'",
        ),
        (
            ("--until", "decided", "--at-most", "8", "--set", "table.reference=nobody"),
            "table.reference: must be an arm (arm0, arm1), got 'nobody'",
        ),
        (("--until", "decided", "--at-most", "99"), "table.looks.every: must leave at most 50 looks, got 1"),
        (
            ("--until", "decided", "--at-most", "8", "--set", "arms={arm0: {}}"),
            "table.looks: must be left out where no arm is compared with another, got the arm arm0 alone",
        ),
        (("--seeds", "3-"), "--seeds: must be seeds such as 6-9 or 6,8, got '3-'"),
        (("--seeds", "9-6"), "--seeds: must be seeds such as 6-9 or 6,8, got '9-6'"),
        (("--arms", "arm0"), "--arms: must be new, got 'arm0'; there are arm0, arm1"),
        (("--arms", "nonsense"), "--arms: must be a pairing scheme (none, top_down"),
        (
            ("--trials", "4"),
            "--trials: must be +N, for a study whose search has a number of trials (4 trials), got '4'",
        ),
        (("--seeds", "1000000"), "search.seed: must not be one of report_seeds, got 1000000"),
        (("--set", "trial.epochs=0"), "trial.epochs: "),
        (("--seeds", "3", "--set", "report_seeds=[7]"), "--set: report_seeds: must be left out, as --seeds, --arms, "),
        (("--trials", "+4", "--set", "search={}"), "or --until change it, got 'search={}'"),
        (("--set", "recipe=imagenet"), "recipe: must be left out: it lies under a study that is begun anew, got"),
        (("--reuse", "nowhere", "--seeds", "4", "--dry-run"), "--reuse nowhere: must be the folder of a study"),
        (("--reuse", "file:///nowhere/at/all", "--seeds", "4", "--dry-run"), "--reuse file:///nowhere/at/all: must be"),
        (
            ("--reuse", "s4://keys@bucket/x", "--seeds", "4", "--dry-run"),
            "--reuse s4://bucket/x: Unrecognized filesystem",
        ),
    ],
)
def test_what_cannot_grow_is_said_in_one_line(made, capsys, words, told):
    assert told in refused(capsys, made, *words)


def test_a_folder_that_is_no_study_is_refused(tmp_path, capsys):
    assert "not the results of a study: provenance.json is missing" in refused(capsys, tmp_path, "--seeds", "4")


def grown(made, *overrides):
    study = changed_study(load_study_of(made), overrides)
    return forecast(study, donors_in([made], made.parent / "other", print))


def taken(made, folder, *overrides, name="donor"):
    """Let the study that `overrides` make of `made` adopt all that there is; return what its table says of its plan."""
    study = changed_study(load_study_of(made), overrides).model_copy(update={"name": name})
    adoption.adopt(study, folder, [made])
    write_provenance(folder, study, [], None)
    write_results(folder)
    return plan_changed(load_results(folder))


def test_growing_after_a_look_and_another_margin_are_said_below_the_table(made, tmp_path):
    of_confirmation = of_arm(made, "arm0", "confirm") + of_arm(made, "arm1", "confirm")
    known = f"when {of_confirmation} of {of_confirmation} confirmation trials were known"
    (note,) = taken(made, tmp_path / "seeds", "report_seeds=[0,1,2,3,4]")
    text = f"Plan changed after results were seen: seeds 3, 4 added, {known}."
    assert note == f"{text} Intervals and p do not allow for such a look."
    (note,) = taken(tmp_path / "seeds", tmp_path / "margin", "report_seeds=[0,1,2,3,4]", "table.margin=0.5")
    assert f"seen: seeds 3, 4 added; margin 0.5 in place of none, {known}." in note  # since they were seen first


def test_the_same_plan_and_another_question_say_nothing(made, tmp_path):
    assert taken(made, tmp_path / "again", "table.title=Other", "keep=none") == []
    assert taken(made, tmp_path / "other", "report_seeds=[0,1]", name="other") == []
    (note,) = taken(tmp_path / "again", tmp_path / "third", "report_seeds=[0,1]")
    assert note.startswith("Plan changed after results were seen: seed 2 left out, when")


def test_the_plan_is_sealed_before_the_first_confirmation(made, tmp_path):
    taken(made, tmp_path / "sealed")
    lines = [json.loads(line) for line in (tmp_path / "sealed/ledger.jsonl").read_text().splitlines()]
    phases = ["sealed" if "sealed" in line else line["cell"]["phase"] for line in lines]
    assert phases.count("sealed") == 1
    assert phases.index("sealed") == phases.index("confirm") - 1
    assert read_seal(tmp_path / "sealed/ledger.jsonl") == plan_of(load_study_of(made))


def test_growing_until_decided_says_what_that_costs_at_most(made, capsys):
    before = sorted(made.parent.rglob("*"))
    assert cli.main(["grow", str(made), "--until", "decided", "--at-most", "9", "--step", "4", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "Looks after 3, 7, 9 seeds (Lan and DeMets 1983" in out
    assert "If no arm is decided before: 24 further trials" in out  # as tuned and as written, six seeds, two arms
    assert sorted(made.parent.rglob("*")) == before


UNTIL = ("report_seeds=[0,1,2,3,4,5]", "table.looks={first: 3, every: 1}")


def test_the_rule_is_sealed_and_the_results_that_were_seen_before_are_its_first_look(made, tmp_path):
    (note,) = taken(made, tmp_path / "until", *UNTIL)
    looks = "looks after 3 of at most 6 seeds, then every 1, until decided (Lan and DeMets 1983, spending like"
    assert f"seen: seeds 3, 4, 5 added; {looks}" in note
    assert note.endswith("the error of both together is that of both added.")
    sealed = read_seal(tmp_path / "until/ledger.jsonl")
    assert sealed.looks.startswith(looks)
    assert sealed.seeds == (0, 1, 2, 3, 4, 5)
    (note,) = taken(made, tmp_path / "margin", *UNTIL, "table.margin=1.0")
    assert note.endswith("Intervals and p do not allow for such a look."), "a margin that was chosen by what was seen"


def test_what_was_looked_at_by_a_rule_is_not_looked_at_anew(made, tmp_path, capsys):
    taken(made, tmp_path / "until", *UNTIL)
    told = refused(capsys, tmp_path / "until", "--until", "decided", "--at-most", "9")
    assert "--until: must be left out: this study has been looked at by such a rule, and its error is spent" in told


def test_each_further_look_is_counted(made, tmp_path):
    taken(made, tmp_path / "first", "report_seeds=[0,1,2,3]")
    adoption.make_up(changed_study(load_study_of(made), ["report_seeds=[0,1,2,3]"]), tmp_path / "rest")
    study = changed_study(load_study_of(made), ["report_seeds=[0,1,2,3,4]"]).model_copy(update={"name": "donor"})
    adoption.adopt(study, tmp_path / "second", [tmp_path / "first", tmp_path / "rest"])
    write_provenance(tmp_path / "second", study, [], None)
    write_results(tmp_path / "second")
    (note,) = plan_changed(load_results(tmp_path / "second"))
    assert note.startswith("Plan changed 2 times after results were seen: ")
    assert "seeds 3, 4 added, when" in note
    assert "seed 4 added, when" in note


def counts(found):
    return {arm: (each.adopted, each.trained) for arm, each in found.items()}


def of_arm(made, arm, phase=None):
    return sum(r.cell.arm == arm and phase in (None, r.cell.phase) for r in read_ledger(made / "ledger.jsonl"))


def test_more_seeds_train_these_alone(made):
    for arm, found in counts(grown(made, "report_seeds=[0,1,2,3,4]")).items():
        each_seed = of_arm(made, arm, "confirm") // 3
        assert found == (of_arm(made, arm), 2 * each_seed)


def test_another_arm_trains_itself_alone(made):
    found = counts(grown(made, "arms.adjacent={loss.pairing: adjacent}"))
    assert found == {"arm0": (of_arm(made, "arm0"), 0), "arm1": (of_arm(made, "arm1"), 0), "adjacent": (0, 1)}


def test_more_search_trials_keep_those_before(made):
    assert counts(grown(made, "search.trials=6")) == {"arm0": (4, 1), "arm1": (4, 1)}


def test_another_reference_title_question_and_keep_train_nothing(made):
    changes = ("table.reference=arm1", "table.title=Other", "question=Why?", "keep=none", "max_failures=3")
    assert counts(grown(made, *changes)) == {arm: (of_arm(made, arm), 0) for arm in ("arm0", "arm1")}


def test_another_recipe_trains_everything(made):
    assert all(each.adopted == 0 for each in grown(made, "trial.optimiser.momentum=0.8").values())


def test_other_code_is_foreseen_as_well(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "donor-1")
    for path in folder.glob("trials/*/origin.json"):
        content = json.loads(path.read_text())
        content["origin"]["code of dks_study"] = "other"
        path.write_text(json.dumps(content))
    assert all(each.adopted == 0 for each in grown(folder, "report_seeds=[0,1,2,3]").values())


def test_a_dry_run_says_what_would_be_adopted_and_starts_nothing(made, capsys):
    before = sorted(made.parent.rglob("*"))
    assert cli.main(["grow", str(made), "--seeds", "3-4,2", "--trials", "+1", "--arms", "adjacent", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"8 of \d+ trials would be adopted, if data and machine are what they were;", out)
    assert [line.split() for line in out.splitlines()[1:4]] == [
        ["arm0", "4", "1"],
        ["arm1", "4", "1"],
        ["adjacent", "0", "1"],
    ]
    assert sorted(made.parent.rglob("*")) == before


@pytest.mark.slow
def test_a_study_that_grew_has_the_table_of_one_that_trained_everything(space, uninterrupted, tmp_path):
    old = shutil.copytree(uninterrupted[0], tmp_path / "results" / uninterrupted[0].name)
    words = [sys.executable, str(ROOT / "run_study.py"), "grow", str(old), "--seeds", "3", "--arms", "adjacent"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    trained = len(records(old))
    assert re.search(rf"{trained} of \d+ trials adopted from {old.name}\.", done.stdout)
    (folder,) = set((tmp_path / "results").glob("small-*")) - {old}
    sets = ("report_seeds=[0,1,2,3]", "arms.adjacent={loss.pairing: adjacent}")
    fresh = finish(space, tmp_path / "fresh", *sets)[0]
    assert fresh.name == folder.name
    assert (folder / "table.csv").read_bytes() == (fresh / "table.csv").read_bytes()
    told = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("Plan changed after")]
    assert "seed 3 added; arm adjacent added, when" in told[0]
    assert (folder / "table.md").read_text().replace(told[0] + "\n", "") == (fresh / "table.md").read_text()
    assert json.loads((folder / "provenance.json").read_text())["adopted"] == {old.name: trained}
    assert sum(record.adopted_from == old.name for record in records(folder)) == trained
    assert (
        f"{trained} of {len(records(folder))} trials were adopted from {old.name}"
        in (folder / "report.html").read_text()
    )
    shutil.rmtree(old)  # what was taken is the study's own
    assert subprocess.run([*words[:3], str(folder), "--seeds", "4"], cwd=ROOT).returncode == 0
    (third,) = set((tmp_path / "results").glob("small-*")) - {folder}
    assert json.loads((third / "provenance.json").read_text())["adopted"] == {
        old.name: trained,
        folder.name: len(records(folder)) - trained,
    }


@pytest.mark.slow
def test_no_reuse_trains_everything_again(space, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted[0], tmp_path / "results" / uninterrupted[0].name)
    folder, out, _ = finish(space, tmp_path / "results", "report_seeds=[0]", options=("--no-reuse",))
    assert "adopted" not in out
    note = "Plan changed after results were seen: seeds 1, 2 left out, when 4 of 4 confirmation trials were known."
    assert note in (folder / "table.md").read_text(), "what was seen stays seen"


@pytest.mark.slow
def test_a_study_of_repeated_searches_grows_by_whole_searches_and_keeps_all_that_it_has(tmp_path, capsys):
    old = changed_study(adoption.study_of(*SIZE), ["search.repeats=2", "report_seeds=[0,1,2,3]"])
    adoption.make_up(old, tmp_path / "donor-1")
    trials = len(list(read_ledger(tmp_path / "donor-1/ledger.jsonl")))
    told = refused(capsys, tmp_path / "donor-1", "--until", "decided", "--at-most", "12")
    assert "--at-most: must be at least 16, the seeds of 8 searches: fewer decide too little, got '12'" in told
    assert cli.main(["grow", str(tmp_path / "donor-1"), "--until", "decided", "--at-most", "16", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "Looks after 4, 6, 8, 10, 12, 14, 16 seeds" in out
    # Two arms, each with six further searches of four trials, and twelve seeds as tuned and as written.
    assert f"If no arm is decided before: {2 * (6 * 4 + 12 * 2)} further trials" in out
    seeds = "report_seeds=[0,2,1,3,4,5,6,7,8,9,10,11,12,13,14,15]"
    grown = (seeds, "search.repeats=8", "table.looks={first: 4, every: 2}")
    (note,) = taken(tmp_path / "donor-1", tmp_path / "until", *grown)
    assert "seeds 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 added; looks after 4 of at most 16 seeds" in note
    assert note.endswith("the error of both together is that of both added.")
    adopted = list(read_ledger(tmp_path / "until/ledger.jsonl"))
    assert len(adopted) == trials
    confirmed = {(r.cell.repeat, r.cell.seed) for r in adopted if r.cell.phase == "confirm"}
    assert confirmed == {(0, 0), (0, 2), (1, 1), (1, 3)}
