"""Batched augmentation against slow ways of doing the same to one image after another."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode, autoaugment

from dks_study.method.streams import generator
from dks_study.spec.data import DataSpec
from dks_study.training.data import Split, batch_sizes, train_batches
from dks_study.training.data.erasing import draw_rectangles, draw_squares, erase
from dks_study.training.data.mixing import draw_mix, mix_images, mix_labels, share_of
from dks_study.training.data.moves import draw_moves, move
from dks_study.training.data.rand_augment import OPERATIONS, SIGNED, draw_operations, rand_augment

COLOUR = torch.tensor([10, 200, 77], dtype=torch.uint8)
MEAN = tuple((COLOUR / 255).tolist())
EVERYTHING = {
    "flip": True,
    "crop_pad_pixels": 2,
    "cutout_pixels": 3,
    "random_erasing": 0.5,
    "rand_augment_operations": 2,
}


def pictures(count, height=9, width=8, channels=3, seed=0):
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator(seed, "test"))


def batches(split, spec, sizes, rank=0, workers=1, seed=5, epoch=1):
    where = {"seed": seed, "epoch": epoch, "rank": rank, "workers": workers}
    return list(train_batches(split, spec, sizes, **where, classes=10, mean=MEAN))


@settings(max_examples=25)
@given(
    images=st.integers(8, 40),
    batch=st.integers(8, 20),
    workers=st.integers(1, 4),
    mixing=st.sampled_from(
        [{}, {"mixup_alpha": 0.4}, {"cutmix_alpha": 1.0}, {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}]
    ),
    epoch=st.integers(1, 3),
)
def test_the_shares_of_all_workers_are_the_batches_of_one_with_every_augmentation(
    images, batch, workers, mixing, epoch
):
    if images < batch:
        return
    split = Split(pictures(images), torch.arange(images) % 10)
    spec, sizes = DataSpec(name="digits", **EVERYTHING, **mixing), batch_sizes(images, batch, True, workers)
    alone = batches(split, spec, sizes, epoch=epoch)
    for rank in range(workers):
        for (mine, targets), (whole, whole_targets) in zip(
            batches(split, spec, sizes, rank, workers, epoch=epoch), alone, strict=True
        ):
            assert torch.equal(mine, whole[rank::workers])
            assert torch.equal(targets, whole_targets[rank::workers])


def test_switching_one_augmentation_on_moves_no_other():
    """Streams are apart: an image that was neither erased nor cut out is the one without erasing."""
    split = Split(pictures(40), torch.arange(40) % 10)
    plain = DataSpec(name="digits", flip=True, crop_pad_pixels=2)
    more = plain.model_copy(update={"random_erasing": 0.5})
    ((images, labels),) = batches(split, plain, [40])
    ((erased, same_labels),) = batches(split, more, [40])
    assert torch.equal(labels, same_labels)
    untouched = (images == erased).flatten(1).all(1)
    assert 5 < untouched.sum() < 35
    changed = (images != erased).any(1, keepdim=True).expand_as(images)
    assert torch.equal(erased[changed].view(-1), COLOUR.view(1, 3, 1, 1).expand_as(images)[changed])


@settings(max_examples=40)
@given(pad=st.integers(0, 12), height=st.integers(3, 9), width=st.integers(3, 9), seed=st.integers(0, 999))
def test_a_zero_padded_crop_is_that_of_one_padded_image_after_another(pad, height, width, seed):
    spec = DataSpec(name="digits", crop_pad_pixels=pad, crop_pad_mode="zero", flip=True)
    images, moves = pictures(3, height, width, seed=seed), draw_moves(3, spec, generator(seed, "test"))
    slow = []
    for image, (down, right, mirrored) in zip(images, moves.tolist(), strict=True):
        padded = F.pad(image, (pad, pad, pad, pad))
        crop = padded[:, pad + down : pad + down + height, pad + right : pad + right + width]
        slow.append(crop.flip(-1) if mirrored else crop)
    moved = move(images, moves, spec)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved, torch.stack(slow))


@settings(max_examples=40)
@given(boxes=st.lists(st.tuples(*[st.integers(-5, 14)] * 4), min_size=1, max_size=5))
def test_what_is_erased_is_the_box_and_nothing_else(boxes):
    images = pictures(len(boxes))
    erased = erase(images, torch.tensor(boxes), COLOUR)
    for image, result, (top, left, bottom, right) in zip(images, erased, boxes, strict=True):
        slow = image.clone()
        for row in range(max(0, top), min(9, bottom)):
            for column in range(max(0, left), min(8, right)):
                slow[:, row, column] = COLOUR
        assert torch.equal(result, slow)


def test_cutout_squares_have_their_centre_anywhere_in_the_image():
    boxes = draw_squares(4000, (6, 4), 3, generator(0, "test"))
    assert (boxes[:, 2:] - boxes[:, :2] == 3).all()
    for column, side in ((0, 6), (1, 4)):
        centres = torch.bincount(boxes[:, column] + 1, minlength=side)
        assert centres.tolist() == pytest.approx([4000 / side] * side, rel=0.1)


def test_erased_rectangles_have_the_published_areas_and_shapes_and_lie_inside():
    boxes = draw_rectangles(4000, (60, 50), 0.3, generator(0, "test"))
    sides = (boxes[:, 2:] - boxes[:, :2]).double()
    hit = sides.prod(1) > 0
    assert hit.double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= torch.tensor([60, 50])).all()
    areas, ratios = sides[hit].prod(1) / 3000, sides[hit, 0] / sides[hit, 1]
    assert 0.015 < areas.min() < areas.max() < 0.36
    assert areas.mean().item() == pytest.approx((0.02 + 0.33) / 2, abs=0.015)
    assert 0.25 < ratios.min() < 0.4 < 2.5 < ratios.max() < 3.8
    assert ratios.log().mean().item() == pytest.approx(0, abs=0.07)


TORCHVISION = {
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "colour": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "identity": "Identity",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "auto_contrast": "AutoContrast",
    "equalize": "Equalize",
}


@pytest.mark.parametrize("magnitude", [0, 9, 22, 30])
def test_each_operation_is_torchvisions_on_one_image_after_another(magnitude):
    images, fill = pictures(3, 24, 20), [float(value) for value in COLOUR]
    space = autoaugment.RandAugment()._augmentation_space(31, (24, 20))
    assert [TORCHVISION[name] for name, _ in OPERATIONS] == [TORCHVISION[name] for name in TORCHVISION]
    assert set(TORCHVISION.values()) == set(space)
    for which, (name, _) in enumerate(OPERATIONS):
        magnitudes, signed = space[TORCHVISION[name]]
        assert signed == (name in SIGNED)
        strength = float(magnitudes[magnitude]) if magnitudes.ndim else 0.0
        for backwards in (0, 1) if signed else (0,):
            drawn = torch.tensor([[[which, backwards]]]).expand(3, 1, 2)
            result = rand_augment(images, drawn, magnitude, COLOUR)
            for image, changed in zip(images, result, strict=True):
                signed_strength = -strength if backwards else strength
                slow = autoaugment._apply_op(image, TORCHVISION[name], signed_strength, InterpolationMode.NEAREST, fill)
                assert (slow.int() - changed.int()).abs().max() <= 1, name


def test_a_batch_is_augmented_as_its_images_one_by_one():
    images, drawn = pictures(30, 12, 12), draw_operations(30, 2, generator(0, "test"))
    together = rand_augment(images, drawn, 9, COLOUR)
    for i in range(30):
        assert torch.equal(rand_augment(images[i : i + 1], drawn[i : i + 1], 9, COLOUR)[0], together[i])
    assert together.dtype == torch.uint8
    assert not torch.equal(images, together)


def test_operations_are_drawn_alike_and_grey_images_can_have_them():
    drawn = draw_operations(7000, 2, generator(0, "test"))
    assert torch.bincount(drawn[..., 0].flatten()).tolist() == pytest.approx([1000] * 14, rel=0.12)
    assert not drawn[drawn[..., 0] >= len(SIGNED)][:, 1].any()
    grey = rand_augment(pictures(60, channels=1), drawn[:60], 9, COLOUR[:1])
    assert grey.shape == (60, 1, 9, 8)


def test_mixup_is_a_weighted_mean_of_images_and_labels():
    images, labels = pictures(6), torch.tensor([0, 1, 2, 3, 4, 4])
    ((mixed, targets),) = batches(Split(images, labels), DataSpec(name="digits", mixup_alpha=0.3), [6])
    ((plain, own),) = batches(Split(images, labels), DataSpec(name="digits"), [6])
    fraction = draw_mix(DataSpec(name="digits", mixup_alpha=0.3), (9, 8), 5, 1, 0).own
    for i in range(6):
        j = (i + 3) % 6
        expected = fraction * plain[i].double().numpy() + (1 - fraction) * plain[j].double().numpy()
        assert np.allclose(mixed[i].double().numpy(), expected, atol=1e-3)
        target = np.zeros(10)
        target[own[i]] += fraction
        target[own[j]] += 1 - fraction
        assert targets[i].tolist() == pytest.approx(target.tolist(), abs=1e-6)


@settings(max_examples=60)
@given(seed=st.integers(0, 999), height=st.integers(4, 12), width=st.integers(4, 12), alpha=st.floats(0.1, 4))
def test_cutmix_pastes_a_box_and_labels_by_its_area(seed, height, width, alpha):
    images, partners = pictures(4, height, width, seed=1), pictures(4, height, width, seed=2)
    partners[images == partners] += 1  # so that every pasted pixel can be told
    mix = draw_mix(DataSpec(name="digits", cutmix_alpha=alpha), (height, width), seed, 1, 0)
    mixed = mix_images(images, partners, mix)
    pasted = mixed == partners
    assert torch.equal(mixed, torch.where(pasted, partners, images))
    where = pasted.all(1).all(0)
    assert torch.equal(pasted, where.expand_as(pasted)), "one box for all images and channels"
    rows, columns = where.any(1), where.any(0)
    assert where.sum() == rows.sum() * columns.sum(), "a rectangle"
    assert 1 - where.double().mean().item() == pytest.approx(mix.own)
    targets = mix_labels(torch.tensor([0, 1]), torch.tensor([2, 1]), mix, 3)
    assert targets.tolist()[0] == pytest.approx([mix.own, 0, 1 - mix.own])
    assert targets.tolist()[1] == pytest.approx([0, 1, 0])


def test_mixing_fractions_follow_beta_and_both_kinds_take_turns():
    both = DataSpec(name="digits", mixup_alpha=2.0, cutmix_alpha=1.0)
    drawn = [draw_mix(both, (32, 32), 0, 1, step) for step in range(600)]
    fractions = torch.tensor([mix.own for mix in drawn if mix.box is None])
    assert len(fractions) == pytest.approx(300, abs=50)
    assert fractions.mean().item() == pytest.approx(0.5, abs=0.05)
    assert fractions.var().item() == pytest.approx(2 * 2 / (4**2 * 5), rel=0.2)
    assert drawn == [draw_mix(both, (32, 32), 0, 1, step) for step in range(600)]
    assert draw_mix(both, (32, 32), 1, 1, 0) != drawn[0]


@settings(max_examples=60)
@given(images=st.integers(2, 70), workers=st.integers(1, 8), mixes=st.booleans())
def test_every_image_has_another_as_its_partner_and_no_worker_reads_more_than_it_must(images, workers, mixes):
    partner_of = {}
    for rank in range(min(workers, images)):
        share = share_of(images, rank, workers, mixes)
        own, partners = share.needed[share.own], share.needed[share.partner]
        assert own.tolist() == list(range(rank, images, workers))
        partner_of |= dict(zip(own.tolist(), partners.tolist(), strict=True))
        if not mixes or (images // 2) % workers == 0 == images % workers:
            assert len(share.needed) == len(own)
    assert sorted(partner_of) == sorted(partner_of.values()) == list(range(images))
    assert all((image != partner) == mixes for image, partner in partner_of.items())
