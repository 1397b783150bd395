"""How a run trains: what it reports, that seeds pair arms, that a resumed run is the uninterrupted one."""

import itertools
from contextlib import nullcontext

import pytest
import torch
from studies import small_study
from torch import nn

from dks_study import trainer
from dks_study.checkpoint import load_state
from dks_study.data import load
from dks_study.study_spec import arm_trial
from dks_study.trainer import NonFiniteLossError, Team, fit

HERE = Team.here(torch.device("cpu"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trial_of(arm="dense", setting=None, phase="search", seed=0, epochs=2, **trial):
    study = small_study(trials=0, **trial)
    return arm_trial(study, arm, setting or {}, epochs=epochs, phase=phase, seed=seed)


def reports(trial, resume=None):
    return list(fit(trial, load(trial.data), HERE, resume))


PLAIN_OPTIONS = {"clip_norm": 1.0, "ema_decay": 0.9}


def lasting(metrics):
    """The metrics without measured times."""
    return {key: value for key, value in metrics.items() if "time/" not in key and "per_s" not in key}


def test_every_classifier_and_every_pair_is_reported_and_the_loss_falls():
    first, *_, last = [report.metrics for report in reports(trial_of(epochs=4))]
    names = ("stage1", "stage2", "main")
    for split, name in itertools.product(("train", "val"), names):
        assert 0 <= last[f"{split}/top1/{name}"] <= 100
        assert last[f"{split}/loss/{name}"] > 0
    for split, (teacher, student) in itertools.product(("train", "val"), itertools.permutations(names, 2)):
        assert last[f"{split}/kl/{teacher}>{student}"] > 0
    assert last["train/loss"] < first["train/loss"]
    assert last["train/images_per_s"] > 0


def test_total_loss_is_the_sum_of_its_reported_parts():
    metrics = reports(trial_of(setting={"loss.synergy_weight": 0.5}, epochs=1))[0].metrics
    names = ("stage1", "stage2", "main")
    ce = sum(metrics[f"train/loss/{name}"] for name in names)
    kl = sum(metrics[f"train/kl/{t}>{s}"] for t, s in itertools.permutations(names, 2))
    assert metrics["train/loss"] == pytest.approx(ce + 0.5 * kl, rel=1e-5)


def test_the_test_set_is_opened_once_by_confirmation_alone():
    assert not [key for report in reports(trial_of(phase="search")) for key in report.metrics if "test" in key]
    early, last = reports(trial_of(phase="confirm"))
    assert not [key for key in early.metrics if key.startswith("test/")]
    assert last.metrics["test/top1/main"] > 10
    assert last.metrics["cost/params_train"] > last.metrics["cost/params_inference"]


def test_top5_appears_where_there_are_enough_classes(monkeypatch):
    monkeypatch.setattr("dks_study.metrics.TOP5_FROM_CLASSES", 10)
    metrics = reports(trial_of(epochs=1))[0].metrics
    assert metrics["val/top5/main"] >= metrics["val/top1/main"]


def test_branches_without_weight_leave_the_backbone_exactly_as_the_baseline_trains_it():
    """Paired seeds, end to end: same initial weights, data order, noise and dropout, whatever branches there are."""
    backbone = {"backbone": {"name": "wrn", "depth": 10, "width": 1, "dropout": 0.3}}
    setting = {"loss.branch_weight": 0.0, "optimiser.weight_decay": 0.0}
    alone = reports(trial_of("baseline", {"optimiser.weight_decay": 0.0}, **backbone))
    beside = reports(trial_of("ds", setting, **backbone))
    for one, other in zip(alone, beside, strict=True):
        assert one.metrics["train/loss/main"] == other.metrics["train/loss/main"]
        assert one.metrics["val/top1/main"] == other.metrics["val/top1/main"]
    for name, weights in alone[-1].state.network.items():
        assert torch.equal(weights, beside[-1].state.network[name]), name


def test_a_seed_fixes_a_run_and_another_seed_changes_it():
    once, again = reports(trial_of(seed=3)), reports(trial_of(seed=3))
    other = reports(trial_of(seed=4))
    assert lasting(once[-1].metrics) == lasting(again[-1].metrics)
    assert lasting(once[-1].metrics) != lasting(other[-1].metrics)


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_run_is_bit_identical(tmp_path, stop_after):
    backbone = {"name": "wrn", "depth": 10, "width": 1, "dropout": 0.3}
    data = {"name": "digits", "label_noise": 0.2, "crop_pad_pixels": 1, "flip": True}
    trial = trial_of(epochs=4, phase="confirm", backbone=backbone, data=data)
    whole = reports(trial)
    first = fit(trial, load(trial.data), HERE)
    for _ in range(stop_after):
        report = next(first)
    report.state.save(tmp_path / "last.pt")
    first.close()
    rest = reports(trial, load_state(tmp_path / "last.pt", trial.content_hash()))
    assert [report.epoch for report in rest] == list(range(stop_after + 1, 5))
    assert lasting(rest[-1].metrics) == lasting(whole[-1].metrics)
    for name, weights in whole[-1].state.network.items():
        assert torch.equal(weights, rest[-1].state.network[name]), name


def test_a_loss_that_is_not_finite_names_epoch_and_step():
    with pytest.raises(NonFiniteLossError, match=r"not finite in epoch 1, step [2-5]$"):
        reports(trial_of(setting={"optimiser.lr": 1e30}))


def _train_in_a_group(rank, size, folder, trials):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=size)
    for name, trial in trials.items():
        if name == "plain":
            trainer.build_network = lambda *_: Plain()
        *_, last = fit(trial, load(trial.data), Team.here(torch.device("cpu")))
        torch.save({"metrics": last.metrics, **vars(last.state)}, f"{folder}/{name}{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Two workers train two trials; the end of each, by name and rank."""
    folder = tmp_path_factory.mktemp("group")
    trials = {"usual": trial_of(phase="confirm"), "plain": plain_trial(accumulate=3, **PLAIN_OPTIONS)}
    torch.multiprocessing.spawn(_train_in_a_group, (2, str(folder), trials), nprocs=2)
    return {name: [torch.load(folder / f"{name}{rank}.pt", weights_only=True) for rank in (0, 1)] for name in trials}


def test_two_workers_train_one_network_and_report_over_both(group):
    one, other = group["usual"]
    assert lasting(one["metrics"]) == lasting(other["metrics"])
    trained = {name for name in one["network"] if "running" not in name and "batches" not in name}
    assert all(torch.equal(one["network"][name], other["network"][name]) for name in trained)
    # Batch norm sees half batches, so the numbers are near those of one worker, not equal to them.
    alone = reports(trial_of(phase="confirm"))[-1].metrics
    assert one["metrics"]["train/loss"] == pytest.approx(alone["train/loss"], rel=0.15)
    # Of the 450 test images each is counted once: the accuracy is a multiple of 1 / 450.
    hits = one["metrics"]["test/top1/main"] * 4.5
    assert hits == pytest.approx(round(hits), abs=1e-6)


ALL_OPTIONS = {
    "sgd": {
        "optimiser": {
            "lr": 0.05, "batch_size": 200, "accumulate": 3, "clip_norm": 1.0, "ema_decay": 0.9, "warmup": 0.1,
            "milestones": [0.3333, 0.7], "reset_momentum": True, "keep_partial_batch": True,
        },
        "compute": {"precision": "float16", "channels_last": True},
    },
    "adamw": {
        "optimiser": {
            "name": "adamw", "lr": 0.005, "batch_size": 256, "accumulate": 2, "clip_norm": 1.0, "ema_decay": 0.9,
            "schedule": "cosine", "warmup": 0.1,
        },
        "compute": {"precision": "bfloat16"},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ALL_OPTIONS)
def test_a_resumed_run_is_bit_identical_with_every_option_on(tmp_path, name):
    backbone = {"name": "resnet", "depth": 8, "base_channels": 2}
    trial = trial_of(epochs=3, phase="confirm", backbone=backbone, **ALL_OPTIONS[name])
    whole = reports(trial)[-1]
    first = fit(trial, load(trial.data), HERE)
    next(first).state.save(tmp_path / "last.pt")
    first.close()
    rest = reports(trial, load_state(tmp_path / "last.pt", trial.content_hash()))[-1]
    assert lasting(rest.metrics) == lasting(whole.metrics)
    assert rest.state.scaler == whole.state.scaler
    assert bool(rest.state.scaler) == (name == "sgd")
    for kind in ("network", "averaged"):
        once, again = getattr(whole.state, kind), getattr(rest.state, kind)
        assert all(torch.equal(value, again[key]) for key, value in once.items())
    for key, values in whole.state.optimiser["state"].items():
        assert all(torch.equal(value, rest.state.optimiser["state"][key][slot]) for slot, value in values.items())


@pytest.mark.parametrize("change", [{"averaged": None}, {"more": 1}])
def test_a_checkpoint_of_another_format_counts_as_none(tmp_path, change):
    trial = trial_of(epochs=1)
    state = reports(trial)[-1].state
    state.save(tmp_path / "last.pt")
    assert load_state(tmp_path / "last.pt", trial.content_hash()).epoch == 1
    values = {key: value for key, value in vars(state).items() if key not in change}
    torch.save(values | {key: value for key, value in change.items() if value}, tmp_path / "last.pt")
    assert load_state(tmp_path / "last.pt", trial.content_hash()) is None


class Plain(nn.Module):
    """Three classifiers without batch norm, so that a batch's gradient is the mean of its parts'."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.stage1, self.stage2, self.hidden = nn.Linear(64, 10), nn.Linear(64, 10), nn.Linear(64, 20)
        self.main = nn.Linear(20, 10)

    def forward(self, images):
        flat = images.flatten(1)
        main = self.main(self.hidden(flat).relu())
        return {"stage1": self.stage1(flat), "stage2": self.stage2(flat), "main": main}


def plainly(monkeypatch, **optimiser):
    """The last report of a run without batch norm; 100 images are split in 34, 33 and 33."""
    monkeypatch.setattr(trainer, "build_network", lambda *_: Plain())
    return reports(plain_trial(**optimiser))[-1]


def plain_trial(**optimiser):
    fixed = {"lr": 0.05, "batch_size": 100, "keep_partial_batch": True}
    return trial_of(optimiser={**fixed, **optimiser}, setting={"loss.pair_dropout": 0.3})


@pytest.mark.parametrize("parts", [3, 50])
def test_accumulated_gradients_are_those_of_the_whole_batch(monkeypatch, parts):
    whole, pieces = plainly(monkeypatch), plainly(monkeypatch, accumulate=parts)
    for name, weights in whole.state.network.items():
        torch.testing.assert_close(pieces.state.network[name], weights, rtol=1e-4, atol=1e-6)
    assert lasting(pieces.metrics) == pytest.approx(lasting(whole.metrics), rel=1e-5)


def test_workers_talk_once_a_batch_however_many_parts_it_has(monkeypatch):
    silent = []
    monkeypatch.setattr(Plain, "no_sync", lambda _: nullcontext(silent.append(1)), raising=False)
    plainly(monkeypatch)
    assert silent == []
    plainly(monkeypatch, accumulate=3)
    steps = 2 * 13  # two epochs of 1,213 images in batches of 100
    assert len(silent) == 2 * steps


def test_with_an_average_it_is_evaluated_and_training_does_not_notice(monkeypatch):
    plain, averaged = plainly(monkeypatch), plainly(monkeypatch, ema_decay=0.95)
    for name, weights in plain.state.network.items():
        assert torch.equal(averaged.state.network[name], weights)
    assert plain.state.shipped is plain.state.network
    assert averaged.state.shipped is averaged.state.averaged
    data, net = load(trial_of().data), Plain()
    net.load_state_dict(averaged.state.shipped)
    logits = net(data.normalise(data.validation.images))["main"]
    loss = nn.functional.cross_entropy(logits, data.validation.labels).item()
    assert averaged.metrics["val/loss/main"] == pytest.approx(loss, rel=1e-5)
    assert averaged.metrics["val/loss/main"] != pytest.approx(plain.metrics["val/loss/main"], rel=1e-3)


def test_the_average_in_a_run_is_the_recursion_over_its_steps(monkeypatch):
    weights, original = [Plain().main.weight.detach()], trainer.take_step

    def spying(optimiser, *more):
        original(optimiser, *more)
        weights.append(optimiser.param_groups[0]["params"][3].detach().clone())

    monkeypatch.setattr(trainer, "take_step", spying)
    state = plainly(monkeypatch, ema_decay=0.95).state
    expected = weights[0]
    for weight in weights[1:]:
        expected = 0.95 * expected + 0.05 * weight
    torch.testing.assert_close(state.averaged["main.weight"], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(state.network["main.weight"], weights[-1])


def test_weights_after_clipped_steps_stay_within_reach(monkeypatch):
    options = {"lr": 0.01, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
    steps = 2 * 13  # two epochs of 1,213 images in batches of 100
    moved = {}
    for norm in (None, 1e-3):
        end = plainly(monkeypatch, clip_norm=norm, **options).state.network
        start = Plain().state_dict()
        moved[norm] = sum((end[name] - start[name]).square().sum() for name in end).sqrt().item()
    assert moved[1e-3] <= 0.01 * 1e-3 * steps * 1.001 < moved[None]


def test_a_group_that_accumulates_clips_and_averages_is_one_worker(monkeypatch, group):
    """A worker's 50 images are trained as 17, 17 and 16; the 7 and 6 of the last batch as 3, 2, 2 and 2, 2, 2."""
    alone = plainly(monkeypatch, **PLAIN_OPTIONS)
    for found in group["plain"]:
        assert lasting(found["metrics"]) == pytest.approx(lasting(alone.metrics), rel=1e-4)
        for kind in ("network", "averaged"):
            for name, value in getattr(alone.state, kind).items():
                torch.testing.assert_close(found[kind][name], value, rtol=1e-4, atol=1e-5)
