"""What a study says about tuning: roles of axes, training length, races, repeats, edges; and what is refused."""

import json

import pytest
from studies import small_study

from dks_study.spec.files import load_study
from dks_study.spec.search import AxisSpec, SearchSpec
from dks_study.spec.space import arm_space
from dks_study.spec.study import StudySpec, arm_run
from dks_study.spec.yamldoc import SpecError
from dks_study.study.planned import planned_trials

LR = "search.axes.optimiser.lr"
EPOCHS = "search.axes.epochs"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.finalists=7", "search.finalists: must be at most trials (6), got 7"),
        (
            "search.race_seeds=0",
            "search.race_seeds: must be above 0 with finalists above 1 and left out otherwise, got 0",
        ),
        (
            "search.finalists=1",
            "search.race_seeds: must be above 0 with finalists above 1 and left out otherwise, got 2",
        ),
        ("search.repeats=9", "search.repeats: must be at most the number of report seeds (8), got 9"),
        ("search.repeats=0", "search.repeats: must be at least 1, got 0"),
        ("search.epochs=5", "search.epochs: must be left out: a search trial is as long as what it chooses for"),
        ("search.objectives=[val/top1/main, cost/macs_train]", "finalists: must be 1 with several objectives, which"),
        ("search.early_stopping.kind=asha", "early_stopping.kind: must be none where the length of training is"),
        (f"{LR}.arms=[dense]", f"{LR}.role: must be scientific with arms: a nuisance axis is tuned in every arm"),
        (f"{LR}.when={{loss.pairing: dense}}", f"{LR}.role: must be scientific with when: a nuisance axis is tuned"),
        (f"{LR}.role=both", f'{LR}.role: must be scientific or nuisance, got "both"'),
        ("arms.dense.optimiser.lr=0.2", f"{LR}.role: must be scientific where an arm (dense) sets optimiser.lr itself"),
        ("arms.dense={optimiser: {lr: 0.3}}", f"{LR}.role: must be scientific where an arm (dense) sets optimiser its"),
        (
            "search.as_arms=[epochs]",
            "search.as_arms: must name scientific axes: arms are not about nuisance, got 'epochs'",
        ),
        (f"{EPOCHS}.int=[4, 11]", f"{EPOCHS}: must end at trial.epochs (10), the common maximum, got [4, 11]"),
        (
            f"{EPOCHS}.int=[4, 9]",
            f"{EPOCHS}: must contain baseline's own value 10: search trial 0 is the arm as written",
        ),
        (f"{EPOCHS}.widen_to=[4, 12]", f"{EPOCHS}.widen_to: must end at trial.epochs (10), the common maximum, got"),
        (f"{EPOCHS}.role=scientific", f"{EPOCHS}.role: must be nuisance: arms that train longer than others are not"),
        (
            f"{EPOCHS}={{choice: [5, long], role: nuisance}}",
            f"{EPOCHS}: must be an int range or a choice of whole numb",
        ),
        ("arms.dense.epochs=3", "arms.dense.epochs: must be the same in the whole study (trial.epochs)"),
        (f"{LR}.widen_to=[0.1, 1.0]", f"{LR}.widen_to: must reach beyond a range, float or int, got [0.1, 1.0]"),
        (f"{LR}.widen_to=[0.0, 1.0]", f"{LR}.widen_to: must stay above 0 with log: true, got [0.0, 1.0]"),
        (f"{EPOCHS}.widen_to=[2.5, 10]", f"{EPOCHS}.widen_to: must be whole numbers on an int axis, got [2.5, 10.0]"),
        ("trial.data.label_noise_in=[validation]", "label_noise_in: must be [train] or [train, validation], got"),
    ],
)
def test_what_cannot_be_tuned_gets_one_line(override, message):
    with pytest.raises(SpecError) as caught:
        load_study("dense_vs_oneway", None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_nothing_is_searched_no_search_is_in_the_way():
    study = load_study("does_it_help", None, ["search.trials=0", "trial.epochs=1", "report_seeds=[0, 1]"])
    assert planned_trials(study) == len(study.arms) * len(study.report_seeds) == 6


def test_a_finite_space_needs_a_cell_for_every_finalist():
    sets = ["search.trials=null", "search.sampler=auto", f"{LR}={{choice: [0.1, 0.2], role: nuisance}}"]
    sets += [f"{EPOCHS}={{choice: [10], role: nuisance}}"]
    with pytest.raises(SpecError, match=r"search\.axes\.epochs\.choice: .* at least 2 values"):
        load_study("dense_vs_oneway", None, sets)
    sets = [*sets[:-1], f"{EPOCHS}={{choice: [5, 10], role: nuisance}}"]
    assert load_study("dense_vs_oneway", None, [*sets, "search.finalists=4"]).search.finalists == 4
    with pytest.raises(SpecError, match=r"search\.finalists: must be at most the cells of baseline \(4\), got 5"):
        load_study("dense_vs_oneway", None, [*sets, "search.finalists=5"])


@pytest.mark.parametrize("name", ["dense_vs_oneway", "does_it_help", "branch_recipe", "loss_weights", "joint"])
def test_every_arm_of_a_question_that_claims_a_difference_is_tuned_over_the_same_nuisance_axes(name):
    study = load_study(name)
    nuisance = {key for key, axis in study.search.axes.items() if axis.role == "nuisance"}
    assert nuisance == {"optimiser.lr", "epochs"}
    assert all(nuisance <= arm_space(study, arm).axes.keys() for arm in study.arms)


def test_a_searched_length_is_that_of_the_trial_and_stretches_the_schedule():
    study = load_study("dense_vs_oneway")
    assert arm_run(study, "dense", {"epochs": 6}).epochs == study.epochs_of("dense", {"epochs": 6}, search=True) == 6
    assert (
        study.epochs_of("dense", {}, search=True)
        == study.epochs_of("dense", {}, search=False)
        == study.trial.epochs
        == 10
    )
    old = study.model_copy(update={"search": SearchSpec(trials=2, epochs=5)})
    assert (old.epochs_of("dense", {}, search=True), old.epochs_of("dense", {}, search=False)) == (5, 10)


def axis(**values):
    return AxisSpec.model_validate_json(json.dumps(values))


@pytest.mark.parametrize(
    ("made", "low", "inside", "high"),
    [
        (axis(float=[0.01, 1.0], log=True), 0.012, 0.1, 0.9),
        (axis(float=[0.0, 1.0]), 0.04, 0.06, 0.97),
        (axis(int=[4, 10]), 4, 5, 10),
        (axis(choice=[0.1, 0.4, 0.2]), 0.1, 0.2, 0.4),
    ],
)
def test_the_outer_twentieth_of_a_range_is_its_edge(made, low, inside, high):
    assert [made.edge(value) for value in (low, inside, high)] == ["low", None, "high"]


def test_words_and_switches_have_no_edge():
    assert axis(choice=["paper", "linear"]).edge("paper") is None
    assert axis(choice=[True, False]).edge(True) is None
    assert axis(choice=[1, "all"]).edge(1) is None


def test_an_axis_is_widened_at_the_edge_that_moves_alone():
    study = small_study(trials=4).model_dump(mode="json", by_alias=True, exclude_unset=True)
    study["search"]["axes"]["optimiser.lr"]["widen_to"] = [0.01, 0.8]
    space = arm_space(StudySpec.model_validate_json(json.dumps(study)), "dense")
    assert space.edges({"optimiser.lr": 0.19}) == ("optimiser.lr",)
    assert space.edges({"optimiser.lr": 0.01}) == (), "this end stays"
    assert space.edges({"optimiser.lr": 0.05}) == ()
    assert space.widened(["optimiser.lr"]).axes["optimiser.lr"].ends == (0.01, 0.8)
    assert space.widened([]).axes["optimiser.lr"].ends == (0.01, 0.2)
