"""Methods as settings of the one objective, each against its formula written out by hand."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from by_hand import CLASSES, NAMES, ce, check, kl, made_up

from dks_study.method.synergy import objective_for
from dks_study.spec.loss import LossSpec


def all_ce(z, y, branch=1.0):
    return ce(z["main"], y) + branch * (ce(z["stage1"], y) + ce(z["stage2"], y))


def dense(z):
    return sum(kl(z[t], z[s]) for t, s in itertools.permutations(NAMES, 2))


def test_deep_supervision_with_constant_weight():
    check(LossSpec(pairing="none", branch_weight=0.3), lambda z, y: all_ce(z, y, 0.3))


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_deep_supervision_that_decays_linearly(progress):
    loss = LossSpec(pairing="none", branch_weight=0.3, branch_schedule="linear")
    check(loss, lambda z, y: all_ce(z, y, 0.3 * (1 - progress)), progress=progress)


@pytest.mark.parametrize("threshold", [0.5, 2.5, 4.0])
def test_deep_supervision_that_is_switched_off_below_a_threshold(threshold):
    def by_hand(z, y):
        branches = [ce(z[name], y) for name in NAMES[:2]]
        return ce(z["main"], y) + sum((each if each > threshold else 0 * each) for each in branches)

    check(LossSpec(pairing="none", branch_schedule="threshold", branch_threshold=threshold), by_hand)


def test_dks_dense():
    check(LossSpec(), lambda z, y: all_ce(z, y) + dense(z))


def test_dks_top_down_and_bottom_up():
    pairs = [("stage2", "stage1"), ("main", "stage1"), ("main", "stage2")]  # deeper teaches shallower
    check(LossSpec(pairing="top_down"), lambda z, y: all_ce(z, y) + sum(kl(z[t], z[s]) for t, s in pairs))
    check(LossSpec(pairing="bottom_up"), lambda z, y: all_ce(z, y) + sum(kl(z[s], z[t]) for t, s in pairs))


def test_dks_adjacent():
    def by_hand(z, y):
        neighbours = [("stage1", "stage2"), ("stage2", "stage1"), ("stage2", "main"), ("main", "stage2")]
        return all_ce(z, y) + sum(kl(z[t], z[s]) for t, s in neighbours)

    check(LossSpec(pairing="adjacent"), by_hand)


def test_explicit_pairs_with_weights_of_their_own():
    loss = LossSpec(pairing={"main>stage1": 0.25, "stage2>main": 2.0}, synergy_weight=0.5)
    check(loss, lambda z, y: all_ce(z, y) + 0.5 * (0.25 * kl(z["main"], z["stage1"]) + 2 * kl(z["stage2"], z["main"])))


def test_directions_with_weights_of_their_own():
    down = [("stage2", "stage1"), ("main", "stage1"), ("main", "stage2")]
    check(
        LossSpec(top_down_weight=0.2, bottom_up_weight=3.0),
        lambda z, y: all_ce(z, y) + sum(0.2 * kl(z[t], z[s]) + 3 * kl(z[s], z[t]) for t, s in down),
    )


def test_byot_mixes_labels_and_the_final_classifier():
    """Zhang et al., ICCV 2019, without the feature hint: (1 - a) CE + a KL from `main` for every branch."""
    a = 0.3

    def by_hand(z, y):
        return ce(z["main"], y) + sum((1 - a) * ce(z[n], y) + a * kl(z["main"], z[n], 3.0) for n in NAMES[:2])

    check(LossSpec(pairing="from_main", branch_weight=1 - a, synergy_weight=a, temperature=3.0), by_hand)


def test_temperature_with_its_square():
    loss = LossSpec(temperature=4.0, temperature_squared=True)
    pairs = list(itertools.permutations(NAMES, 2))
    check(loss, lambda z, y: all_ce(z, y) + 16 * sum(kl(z[t], z[s], 4.0) for t, s in pairs))


def test_a_teacher_that_learns_from_its_students():
    pairs = list(itertools.permutations(NAMES, 2))
    check(
        LossSpec(detach_teacher=False), lambda z, y: all_ce(z, y) + sum(kl(z[t], z[s], detach=False) for t, s in pairs)
    )


def test_mean_over_pairs():
    check(LossSpec(pair_reduction="mean"), lambda z, y: all_ce(z, y) + dense(z) / 6)
    check(
        LossSpec(pairing="from_main", pair_reduction="mean"),
        lambda z, y: all_ce(z, y) + (kl(z["main"], z["stage1"]) + kl(z["main"], z["stage2"])) / 2,
    )


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.1, 0.5), (0.2, 1.0), (0.9, 1.0)])
def test_warm_up_of_the_synergy(progress, share):
    check(LossSpec(synergy_warmup=0.2), lambda z, y: all_ce(z, y) + share * dense(z), progress=progress)


def test_label_smoothing_acts_on_every_cross_entropy_and_not_on_the_synergy():
    def by_hand(z, y):
        return sum(F.cross_entropy(z[name], y, label_smoothing=0.1) for name in NAMES) + dense(z)

    check(LossSpec(label_smoothing=0.1), by_hand)


def test_targets_may_be_distributions():
    logits, targets = made_up()
    soft = 0.7 * F.one_hot(targets, CLASSES).double() + 0.3 * F.one_hot(targets.flip(0), CLASSES)
    terms = objective_for(LossSpec(), NAMES)(logits, soft)
    for name, found in zip(NAMES, terms.supervised.tolist(), strict=True):
        assert found == pytest.approx(
            0.7 * ce(logits[name], targets).item() + 0.3 * ce(logits[name], targets.flip(0)).item()
        )


def test_pairs_are_dropped_at_random_by_the_given_draws_alone():
    logits, targets = made_up()
    objective = objective_for(LossSpec(pair_dropout=0.5), NAMES)
    supervised = objective_for(LossSpec(pairing="none"), NAMES)(logits, targets).total
    terms = objective(logits, targets)
    assert terms.total.item() == pytest.approx((supervised + terms.synergy.sum()).item()), "no draws, nothing dropped"
    kept = []
    for seed in range(300):
        draws = [torch.Generator().manual_seed(seed) for _ in range(2)]
        first, again = (objective(logits, targets, 0.5, each).total.item() for each in draws)
        assert first == again
        kept.append((first - supervised.item()) / terms.synergy.sum().item())
    assert min(kept) >= 0
    assert sum(kept) / len(kept) == pytest.approx(0.5, abs=0.06)


def test_bfloat16_logits_give_a_float32_loss():
    logits, targets = made_up()
    halves = {name: each.detach().bfloat16().requires_grad_() for name, each in logits.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = objective_for(LossSpec(), NAMES)(halves, targets)
    exact = objective_for(LossSpec(), NAMES)({name: each.float() for name, each in halves.items()}, targets)
    assert terms.total.dtype == terms.synergy.dtype == torch.float32
    assert terms.total.item() == exact.total.item()


@pytest.mark.parametrize(
    "wrong",
    [
        {"branch_schedule": "threshold"},
        {"branch_threshold": 0.5},
        {"pairing": {"main>stage1": -1.0}},
        {"pairing": {"main": 1.0}},
        {"pair_dropout": 1.0},
        {"temperature": 0.0},
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LossSpec(**wrong)


@pytest.mark.parametrize("pairing", ["dense", ("main>stage1",), {"main>stage1": 0.5}])
def test_a_pairing_survives_json(pairing):
    loss = LossSpec(pairing=pairing)
    assert LossSpec.model_validate_json(loss.model_dump_json()) == loss


def test_distillation_from_a_frozen_teacher():
    def by_hand(z, y):  # Hinton et al. (2015): (1 - a) CE + a T^2 KL(teacher || student) at temperature T
        return 0.1 * ce(z["main"], y) + 0.9 * 16 * kl(z["teacher"].detach(), z["main"], 4.0)

    loss = LossSpec(
        pairing=("teacher>main",), main_weight=0.1, synergy_weight=0.9, temperature=4.0, temperature_squared=True
    )
    check(loss, by_hand, ("teacher", "main"))


def test_a_teacher_beside_synergy():
    names = ("teacher", *NAMES)
    check(
        LossSpec(pairing=("dense", "teacher>main")),
        lambda z, y: all_ce(z, y) + dense(z) + kl(z["teacher"], z["main"]),
        names,
    )


def test_deep_mutual_learning_of_two_networks():
    def by_hand(z, y):  # Zhang et al. (2018): each network has its own CE and learns from the other
        return sum(ce(z[s], y) + kl(z[t], z[s]) for t, s in itertools.permutations(("peer1.main", "main"), 2))

    check(LossSpec(pairing="cross"), by_hand, ("peer1.main", "main"))


def test_deep_mutual_learning_of_three_networks_averages_over_the_others():
    names = ("peer1.main", "peer2.main", "main")

    def by_hand(z, y):  # section 3.4 of Zhang et al. (2018): the mean over the K - 1 others
        pairs = sum(kl(z[t], z[s]) for t, s in itertools.permutations(names, 2))
        return sum(ce(z[name], y) for name in names) + pairs / 2

    check(LossSpec(pairing="cross", synergy_weight=0.5), by_hand, names)


def test_dense_cross_layer_mutual_distillation():
    peer, own = tuple(f"peer1.{name}" for name in NAMES), NAMES

    def by_hand(z, y):  # Yao and Sun (2020): all 6 cross-entropies, all 18 pairs across the two networks
        pairs = [*itertools.product(peer, own), *itertools.product(own, peer)]
        return sum(ce(z[name], y) for name in peer + own) + sum(kl(z[t], z[s]) for t, s in pairs)

    check(LossSpec(pairing="cross"), by_hand, peer + own)


def test_weights_by_direction_do_not_reach_across_networks():
    loss = LossSpec(pairing="cross", top_down_weight=0.0, bottom_up_weight=0.0)
    full = LossSpec(pairing="cross")
    names = ("peer1.main", "main")
    assert objective_for(loss, names).pair_weights == objective_for(full, names).pair_weights


def test_schedules_leave_every_main_alone():
    names = ("peer1.stage1", "peer1.main", "stage1", "main")

    def by_hand(z, y):
        mains = ce(z["peer1.main"], y) + ce(z["main"], y)
        return mains + 0.25 * (ce(z["peer1.stage1"], y) + ce(z["stage1"], y))

    check(LossSpec(pairing="none", branch_schedule="linear"), by_hand, names, progress=0.75)


def test_the_teacher_has_no_cross_entropy_and_no_gradient():
    logits, targets = made_up(("teacher", "main"))
    terms = objective_for(LossSpec(pairing="none"), ("teacher", "main"))(logits, targets)
    assert terms.total.item() == pytest.approx(ce(logits["main"], targets).item())
    assert terms.supervised[0].item() == pytest.approx(ce(logits["teacher"], targets).item())


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_progressive_self_knowledge_distillation(progress):
    """Kim et al. (ICCV 2021): the target is (1 - a) y + a p, p of the epoch before, a = 0.8 t / T."""

    def by_hand(z, y):
        a, p = 0.8 * progress, torch.softmax(z["teacher"], 1).detach()
        target = (1 - a) * F.one_hot(y, CLASSES).double() + a * p
        entropy = -(p * p.log()).sum(1).mean()  # a constant, by which KL is below the cross-entropy
        return -(target * torch.log_softmax(z["main"], 1)).sum(1).mean() - a * entropy

    loss = LossSpec(pairing=("teacher>main",), main_fall=0.8, synergy_weight=0.8, synergy_warmup=1.0)
    check(loss, by_hand, ("teacher", "main"), progress=progress)


@pytest.mark.parametrize("schedule", ["constant", "linear", "threshold"])
def test_the_weight_of_the_labels_of_every_main_falls_and_that_of_branches_goes_by_its_own(schedule):
    names = ("peer1.stage1", "peer1.main", "stage1", "main")
    threshold = {"branch_threshold": 1.0} if schedule == "threshold" else {}

    def by_hand(z, y):
        branches = [ce(z[name], y) for name in ("peer1.stage1", "stage1")]
        share = {"constant": 1.0, "linear": 0.75}.get(schedule)
        kept = [share * each if share else (each > 1.0) * each for each in branches]
        return (1 - 0.5 * 0.25) * (ce(z["peer1.main"], y) + ce(z["main"], y)) + sum(kept)

    loss = LossSpec(pairing="none", main_fall=0.5, branch_schedule=schedule, **threshold)
    check(loss, by_hand, names, progress=0.25)
