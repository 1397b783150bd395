"""How a run trains: what it reports, that seeds pair arms, that a resumed run is the uninterrupted one."""

import itertools
import multiprocessing

import pytest
import torch
from pictures import write_folders
from plain import Plain, plain_trial
from studies import small_study
from torch.utils._python_dispatch import TorchDispatchMode

from dks_study.spec.cohort import TeacherSpec
from dks_study.spec.loss import LossSpec
from dks_study.spec.study import arm_trial
from dks_study.spec.terms import TermSpec
from dks_study.training import trainer
from dks_study.training.checkpoint import load_state
from dks_study.training.compute import peak_memory
from dks_study.training.data import load
from dks_study.training.team import NonFiniteLossError, Team
from dks_study.training.trainer import Chosen, fit

HERE = Team.here(torch.device("cpu"))


def trial_of(arm="dense", setting=None, phase="search", seed=0, epochs=2, **trial):
    study = small_study(trials=0, **trial)
    return arm_trial(study, arm, setting or {}, epochs=epochs, phase=phase, seed=seed)


def reports(trial, resume=None, chosen=None):
    return list(fit(trial, load(trial.data), HERE, resume, chosen))


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


def test_the_epoch_that_validation_chose_is_tested_beside_the_last_one():
    rough = {"lr": 0.6, "batch_size": 128, "schedule": "constant"}  # it goes up and down
    trial = trial_of(phase="confirm", seed=1, epochs=6, optimiser=rough)
    seen, weights = [], []
    for report in fit(trial, load(trial.data), HERE):
        seen.append(report.metrics)
        weights.append({name: value.clone() for name, value in report.state.shipped.items()})
    accuracy = [metrics["val/top1/main"] for metrics in seen]
    chosen = max(range(6), key=lambda epoch: (accuracy[epoch], epoch))
    assert chosen < 5, "or this test tells nothing"
    assert seen[-1]["chosen_epoch"] == chosen + 1
    run = trainer._prepare(trial, load(trial.data), HERE, None)
    for prefix, epoch in (("test", 5), ("test_chosen", chosen)):
        run.network.load_state_dict(weights[epoch])
        again = trainer._evaluate(run, run.network, run.data.test, prefix)
        assert {name: seen[-1][name] for name in again} == again
    assert seen[-1]["test/loss/main"] != seen[-1]["test_chosen/loss/main"]


def test_the_last_epoch_that_is_also_the_chosen_one_is_tested_once(monkeypatch):
    looked_at, evaluate = [], trainer._evaluate
    monkeypatch.setattr(
        trainer, "_evaluate", lambda r, n, s, prefix, *rest: looked_at.append(prefix) or evaluate(r, n, s, prefix)
    )
    (metrics,) = [report.metrics for report in reports(trial_of(phase="confirm", epochs=1))]
    assert looked_at == ["val", "test"]
    assert metrics["test/top1/main"] == metrics["test_chosen/top1/main"]
    assert metrics["chosen_epoch"] == 1


def test_wrong_validation_labels_are_the_same_in_every_trial_and_test_labels_are_right():
    data = {"name": "digits", "label_noise": 0.4, "label_noise_in": ["train", "validation"]}
    runs = [trainer._prepare(trial, load(trial.data), HERE, None) for trial in (
        trial_of(data=data, seed=1), trial_of(data=data, seed=2), trial_of(data={**data, "label_noise_in": ["train"]}),
    )]  # fmt: skip
    one, other, right = (run.data.validation.labels for run in runs)
    assert torch.equal(one, other)
    assert round(float((one != right).float().mean()), 2) == 0.4
    assert torch.equal(runs[0].data.test.labels, runs[2].data.test.labels)
    assert not torch.equal(runs[0].data.train.labels, runs[1].data.train.labels), "these follow the trial's seed"


def test_peak_memory_is_that_of_the_gpu_and_none_is_invented_for_a_cpu(monkeypatch):
    assert not [key for report in reports(trial_of(phase="confirm")) for key in report.metrics if "memory" in key]
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: 3 * 2**20)
    assert peak_memory(torch.device("cuda")) == {"cost/peak_memory_mib": 3.0}


def test_top5_appears_where_there_are_enough_classes(monkeypatch):
    monkeypatch.setattr("dks_study.training.metrics.TOP5_FROM_CLASSES", 10)
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


@pytest.mark.parametrize("mixing", [{"mixup_alpha": 0.4}, {"cutmix_alpha": 1.0}])
def test_a_run_on_mixed_images_learns_and_is_evaluated_on_plain_ones(mixing):
    data = {"name": "digits", "cutout_pixels": 2, "rand_augment_operations": 1, **mixing}
    first, *_, last = [
        report.metrics for report in reports(trial_of(data=data, epochs=4, optimiser={"batch_size": 64}))
    ]
    assert last["train/loss"] < first["train/loss"]
    assert last["val/top1/main"] > max(40, last["train/top1/main"])


def test_a_run_on_files_is_the_same_from_the_first_epoch_or_resumed(tmp_path):
    write_folders(tmp_path, size=(40, 36))
    data = {"name": "imagenet", "root": str(tmp_path), "validation_fraction": 0.25, "image_pixels": 16, "flip": True}
    trial = trial_of(data=data, phase="confirm", epochs=2, optimiser={"lr": 0.05, "batch_size": 6})
    first, last = reports(trial)
    assert first.metrics["val/loss/main"] > 0
    assert last.metrics["test/top1/main"] * 6 / 100 == pytest.approx(round(last.metrics["test/top1/main"] * 6 / 100))
    run = fit(trial, load(trial.data), HERE)
    next(run).state.save(tmp_path / "last.pt")
    run.close()
    state = load_state(tmp_path / "last.pt", trial.content_hash())
    (again,) = reports(trial, state, Chosen(1, first.metrics["val/top1/main"], state.shipped))
    assert lasting(again.metrics) == lasting(last.metrics)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A trial with dropout, noise and augmentation, its reports without a break, and its state after each epoch."""
    backbone = {"name": "wrn", "depth": 10, "width": 1, "dropout": 0.3}
    data = {"name": "digits", "label_noise": 0.2, "crop_pad_pixels": 1, "flip": True, "train_images": 500}
    trial = trial_of(epochs=4, phase="confirm", backbone=backbone, data=data)
    folder, whole = tmp_path_factory.mktemp("whole"), []
    for report in fit(trial, load(trial.data), HERE):
        report.state.save(folder / f"{report.epoch}.pt")
        whole.append(report)
    return trial, whole, folder


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_run_is_bit_identical(whole_run, stop_after):
    trial, whole, folder = whole_run
    accuracy = [report.metrics["val/top1/main"] for report in whole[:stop_after]]
    best = max(range(stop_after), key=lambda index: (accuracy[index], index))
    states = [load_state(folder / f"{epoch}.pt", trial.content_hash()) for epoch in (stop_after, best + 1)]
    with pytest.raises(ValueError, match="goes on with the epoch that validation chose"):
        reports(trial, states[0])
    rest = reports(trial, states[0], Chosen(best + 1, accuracy[best], states[1].shipped))
    assert [report.epoch for report in rest] == list(range(stop_after + 1, 5))
    assert lasting(rest[-1].metrics) == lasting(whole[-1].metrics)
    for name, weights in whole[-1].state.network.items():
        assert torch.equal(weights, rest[-1].state.network[name]), name


class Waits(TorchDispatchMode):
    """Counts the operations for which a GPU would be waited for: their result is needed on the host."""

    NAMES = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(name in func.__name__ for name in self.NAMES):
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_no_step_waits_for_the_device(precision):
    """However many steps an epoch has, results are needed on the host at its end alone."""
    waits = []
    for batch_size in (200, 50):
        small = {"name": "resnet", "depth": 8, "base_channels": 2}
        data = {"name": "digits", "crop_pad_pixels": 1, "flip": True, "cutout_pixels": 2}
        optimiser = {"batch_size": batch_size, "clip_norm": 1.0, "ema_decay": 0.9}
        teacher = {"own": "average", "ema_decay": 0.9}
        changes = {"data": data, "optimiser": optimiser, "teacher": teacher, "compute": {"precision": precision}}
        trial = trial_of(setting={"loss.pair_dropout": 0.2}, epochs=1, backbone=small, **changes)
        load(trial.data)
        with Waits() as mode:
            reports(trial)
        waits.append(mode.seen)
    assert waits[0] == waits[1]
    assert waits[0]


def test_a_loss_that_is_not_finite_names_epoch_and_step():
    with pytest.raises(NonFiniteLossError, match=r"not finite in epoch 1, step [2-5]$"):
        reports(trial_of(setting={"optimiser.lr": 1e30}))


def _train_in_a_group(rank, size, folder, trials):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=size)
    for name, (trial, data) in trials.items():
        if name == "plain":
            trainer.build_network = lambda *_: Plain()
        *_, last = fit(trial, data, Team.here(torch.device("cpu")))
        torch.save({"metrics": last.metrics, **vars(last.state)}, f"{folder}/{name}{rank}.pt")
    torch.distributed.destroy_process_group()


PLAIN_OPTIONS = {"clip_norm": 1.0, "ema_decay": 0.9}


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Two workers train three trials; the end of each, by name and rank."""
    folder = tmp_path_factory.mktemp("group")
    term = TermSpec(kind="gradient", pairs=("teacher>main",))
    loss = LossSpec(pairing=("teacher>main",), terms={"it": term})
    own = {"teacher": TeacherSpec(own="average", ema_decay=0.9), "loss": loss}
    taught = trial_of("baseline", epochs=1).model_copy(update=own)
    trials = {"usual": trial_of(phase="confirm"), "taught": taught}
    trials["plain"] = plain_trial(accumulate=3, **PLAIN_OPTIONS)  # last: this one changes what is trained
    loaded = {name: (trial, load(trial.data)) for name, trial in trials.items()}  # sklearn takes long to import
    multiprocessing.set_forkserver_preload(["torch._dynamo", "dks_study.training.trainer"])  # once, not in each of them
    torch.multiprocessing.start_processes(
        _train_in_a_group, (2, str(folder), loaded), nprocs=2, start_method="forkserver"
    )
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


def test_the_workers_of_a_network_that_teaches_itself_have_one_teacher(group):
    one, other = (each["network"] for each in group["taught"])
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    moved = [name for name, value in one.items() if name.startswith("teacher") and "batches" not in name]
    assert not any(torch.equal(one[name], one[name.replace("teacher.network", "own.backbone")]) for name in moved)
    metrics = group["taught"][0]["metrics"]
    assert min(metrics[f"train/{key}"] for key in ("kl/teacher>main", "term/it/teacher>main")) > 0


def test_a_group_that_accumulates_clips_and_averages_is_one_worker(monkeypatch, group):
    """A worker's 50 images are trained as 17, 17 and 16; the 7 and 6 of the last batch as 3, 2, 2 and 2, 2, 2."""
    monkeypatch.setattr(trainer, "build_network", lambda *_: Plain())
    alone = reports(plain_trial(**PLAIN_OPTIONS))[-1]
    for found in group["plain"]:
        assert lasting(found["metrics"]) == pytest.approx(lasting(alone.metrics), rel=1e-4)
        for kind in ("network", "averaged"):
            for name, value in getattr(alone.state, kind).items():
                torch.testing.assert_close(found[kind][name], value, rtol=1e-4, atol=1e-5)
