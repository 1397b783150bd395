"""The two sides of each benchmark compute the same thing; how fast is not a test's business."""

import time
from itertools import islice

import branch_throughput
import input_pipeline
import page_cost
import pytest
import seeds_together
import synergy_loss
import torch
import train_step
from measuring import loops
from measuring.loops import input_batches
from measuring.setups import OPTIMISER, RESNET_8, made_up, trial_of
from measuring.stacked import difference
from PIL import Image
from torchvision.transforms import functional

from dks_study.training.data.moves import draw_moves, move
from dks_study.watch.live.snapshot import snapshot

SMALL = {**RESNET_8, "backbone": {"name": "resnet", "depth": 8, "base_channels": 2}}
SMALL_COLOUR = {**SMALL, "data": {"name": "cifar100", "root": "none"}}


@pytest.fixture
def data(monkeypatch):
    """Three batches of 16 made-up images of 8x8."""
    monkeypatch.setattr(train_step, "BATCH", 16)
    return made_up(48, side=8)


def small(**optimiser):
    return {**SMALL_COLOUR, "optimiser": {**OPTIMISER, "lr": 0.01, "batch_size": 16, **optimiser}}


def test_ours_and_the_published_loss_have_the_same_gradient():
    sides = synergy_loss.losses(4)
    published = sides["published"]
    assert synergy_loss.largest_difference(sides["ours, smoothed"], published, torch.float64) < 1e-13
    assert synergy_loss.largest_difference(sides["ours"], published, torch.float64) < 1e-4
    assert synergy_loss.largest_difference(sides["ours"], published, torch.float32) < 1e-4


def test_fit_trains_what_the_loops_written_by_hand_train(data):
    trial = trial_of(small())
    ours, bare, published = (side(trial, data)() for side in (loops.ours, loops.bare, loops.published))
    for name, weights in bare.state_dict().items():
        assert torch.equal(ours.state.network[name], weights), name
        torch.testing.assert_close(published.state_dict()[name], weights, rtol=1e-3, atol=1e-4)


def test_all_sides_of_a_step_are_measured(data):
    seconds = train_step.measure(small(), data, compiled=False, rounds=1)
    assert {name: len(each) for name, each in seconds.items()} == {"ours": 1, "bare": 1, "published": 1}


def test_ours_and_torchvision_yield_the_same_kind_of_batches():
    data = made_up(256)
    for batches in (input_batches(data, input_pipeline.SPEC, 128), input_pipeline.torchvision(data)):
        for images in islice(batches, 3):
            assert (images.shape, images.dtype) == ((128, 3, 32, 32), torch.float32)
            assert images.min() == -2
            assert images.max() == 2


def test_our_moves_are_torchvisions_crops_and_flips_of_the_padded_image():
    data, pad, spec = made_up(20), input_pipeline.PAD_PIXELS, input_pipeline.SPEC
    moves = draw_moves(20, spec, torch.Generator().manual_seed(0))
    moved = data.normalise(move(data.train.images, moves, spec))
    for pixels, (down, right, mirrored), ours in zip(data.train.images, moves.tolist(), moved, strict=True):
        picture = functional.pad(Image.fromarray(pixels.permute(1, 2, 0).numpy()), [pad])
        picture = functional.crop(picture, pad + down, pad + right, 32, 32)
        picture = functional.hflip(picture) if mirrored else picture
        theirs = functional.normalize(functional.to_tensor(picture), data.mean, data.std)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_branches_are_measured_against_the_backbone_alone(data):
    assert branch_throughput.arithmetic_ratio(small(), data) > 1.5
    assert branch_throughput.arithmetic_ratio({**small(), **branch_throughput.ALONE}, data) == 1
    seconds = branch_throughput.measure(small(), data, rounds=1)
    assert [len(each) for each in seconds.values()] == [1, 1]
    for values, _ in branch_throughput.cases().values():
        assert trial_of(values).branches.taps


def test_seeds_trained_together_take_the_steps_that_they_take_apart():
    _, most = difference(seeds_together.seeds(2, torch.float64), steps=2)
    assert most < 1e-12


def test_the_study_whose_page_is_timed_is_one_shortly_before_its_end(tmp_path):
    trials = page_cost.make(tmp_path / "made_up-1", page_cost.study(searches=3, seeds=2))
    seen = snapshot(tmp_path / "made_up-1")
    parts = [part for arm in seen.arms for part in arm.parts]
    assert sum(part.complete for part in parts) == trials == seen.trials - 2
    assert sum(part.running for part in parts) == 1
    assert {len(curve.errors) for curve in seen.curves} == {page_cost.EPOCHS, page_cost.EPOCHS // 2}
    seconds = page_cost.measure(tmp_path / "made_up-1", rounds=1)
    assert [len(each) for each in seconds.values()] == [1, 1, 1]
    assert seconds["start"][0] > seconds["page"][0] > 0


def test_seconds_are_those_of_the_clock_that_is_asked_for():
    from measuring.alternating import seconds_of

    assert seconds_of(lambda: time.sleep(0.05)) >= 0.05
    assert seconds_of(lambda: time.sleep(0.05), clock=time.process_time) < 0.05
