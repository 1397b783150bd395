"""One contract for transformers: tapped after blocks, with branches of heads and of blocks, and terms on features."""

import copy
import pickle

import pytest
import torch
from own_networks import tiny_swin, tiny_vit
from torch import nn
from torchvision import models

from dks_study import SynergyLoss, branched
from dks_study.method.networks import build_network
from dks_study.method.own_loss import LoopError
from dks_study.method.synergy import objective_for
from dks_study.method.tokens import TokenHead
from dks_study.spec.backbone import ExternalSpec
from dks_study.spec.branches import BranchSpec, auto_recipes
from dks_study.spec.trial import RunSpec, TrialSpec
from dks_study.study.export import export
from dks_study.study.trial import run_trial
from dks_study.training.cost import count_cost
from dks_study.training.data import load
from dks_study.training.team import Team
from dks_study.training.trainer import fit

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"img_size": 8, "patch_size": 2, "depth": 4, "embed_dim": 16, "num_heads": 2}
# name -> (options, taps, channels at each, blocks that follow each, has a class token)
FAMILIES = {
    "own_networks:tiny_vit": (
        {},
        ("encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_2"),
        (16, 16),
        (3, 1),
        True,
    ),
    "own_networks:tiny_swin": ({}, ("features.1.0", "features.1"), (8, 8), (3, 2), False),
    "timm:vit_small_patch16_224": (SMALL, ("blocks.0", "blocks.2"), (16, 16), (3, 1), True),
    "timm:deit_tiny_patch16_224": (SMALL, ("blocks.1",), (16,), (2,), True),
    "timm:swin_tiny_patch4_window7_224": (
        {"img_size": 16, "patch_size": 2, "window_size": 2, "embed_dim": 12},
        ("layers.0",),
        (12,),
        (10,),
        False,
    ),
}
LARGE = {"torchvision:vit_b_16": "encoder.layers.encoder_layer_8", "torchvision:swin_t": "features.3"}
BLOCKS = ("EncoderBlock", "SwinTransformerBlock", "Block")
by_name = pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow) if each.startswith("timm") else each for each in FAMILIES]
)


def run_spec(name, classes_of=RunSpec, terms=None, pairing="dense", epochs=1, **branches):
    options, taps, *_ = FAMILIES.get(name, ({},))
    values = {
        "backbone": {"name": name, "options": options},
        "data": {"name": "digits"},
        "branches": {"taps": taps, **branches},
        "loss": {"pairing": pairing, "terms": terms or {}},
        "epochs": epochs,
    }
    if classes_of is TrialSpec:
        values |= {"phase": "confirm", "seed": 0, "optimiser": {"name": "adamw", "lr": 1e-3, "batch_size": 256}}
    return classes_of.model_validate(values, strict=False)


def pixels_of(name):
    return 16 if "timm:swin" in name else 8


def build(name, **keys):
    pixels = pixels_of(name)
    return build_network(run_spec(name, **keys), 1, 10, 0, (pixels, pixels))


def images_of(name, count=4):
    pixels = pixels_of(name)
    return torch.rand(count, 1, pixels, pixels, generator=torch.Generator().manual_seed(0))


def parameters(module):
    return sum(each.numel() for each in module.parameters())


@by_name
@pytest.mark.parametrize("recipe", ["linear", "tail"])
def test_the_network_stays_what_it_is_and_every_classifier_answers(name, recipe):
    alone, net = build(name, taps=()), build(name, recipe=recipe)
    state = net.plain().state_dict()
    assert all(torch.equal(state[key], value) for key, value in alone.plain().state_dict().items())
    images = images_of(name)
    logits = net.eval()(images)
    assert torch.equal(logits["main"], alone.eval()(images)["main"])
    assert list(logits) == [*FAMILIES[name][1], "main"]
    assert all(each.shape == (4, 10) for each in logits.values())
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert all(torch.equal(value, logits[key]) for key, value in twin(images).items())


@by_name
def test_a_linear_branch_is_norm_and_linear_layer(name):
    net = build(name, recipe="linear")
    for branch, channels in zip(net.branches.values(), FAMILIES[name][2], strict=True):
        (head,) = branch
        assert parameters(head) == 2 * channels + channels * 10 + 10
        assert head.norm.eps == [each for each in net.plain().modules() if isinstance(each, nn.LayerNorm)][-1].eps
        assert head.has_class_token == FAMILIES[name][4]


@by_name
def test_a_tail_has_a_share_of_the_blocks_that_follow_with_fresh_weights(name):
    for share in (1.0, 0.5):
        net = build(name, recipe="tail", depth_factor=share)
        for branch, following in zip(net.branches.values(), FAMILIES[name][3], strict=True):
            blocks = [each for each in branch.modules() if type(each).__name__ in BLOCKS]
            assert len(blocks) == following if share == 1 else 0 < len(blocks) <= (following + 2) / 2
            own = {value.data_ptr() for value in net.plain().parameters()}
            assert not own & {value.data_ptr() for value in branch.parameters()}
            drawn = [value for key, value in blocks[0].named_parameters() if key.endswith("weight") and value.ndim > 1]
            theirs = [value for value in net.plain().parameters() if value.shape == drawn[0].shape]
            assert not any(torch.equal(drawn[0], each) for each in theirs)


@by_name
def test_everything_learns_so_ddp_finds_no_unused_parameters(name):
    net, run = build(name, recipe="tail"), run_spec(name, recipe="tail")
    objective_for(run.loss, run.classifiers)(net(images_of(name)), torch.arange(4)).total.backward()
    assert not [key for key, value in net.named_parameters() if value.grad is None]


def test_the_class_token_or_the_mean_is_read():
    tokens, maps = torch.rand(2, 5, 6), torch.rand(2, 3, 3, 6)
    first, mean = TokenHead(6, 4, 1e-6, True), TokenHead(6, 4, 1e-6, False)
    assert torch.equal(first(tokens), first.fc(first.norm(tokens[:, 0])))
    torch.testing.assert_close(mean(maps), mean.fc(mean.norm(maps).mean((1, 2))))


TERMS = {
    "own_networks:tiny_vit": {
        "hint": {"kind": "hint", "pairs": ["encoder.layers.encoder_layer_3>encoder.layers.encoder_layer_0"]},
        "near": {"kind": "embedding", "pairs": ["from_main"], "weight": 0.03},
        "dkd": {"kind": "dkd", "pairs": ["main>encoder.layers.encoder_layer_0"]},
    },
    "own_networks:tiny_swin": {
        "hint": {"kind": "hint", "pairs": ["features.3>features.1"]},
        "attention": {"kind": "attention", "pairs": ["features.3>features.1"]},
        "flow": {"kind": "fsp", "pairs": ["features.1.0+features.3>features.1+features.3.0"]},
        "near": {"kind": "embedding", "pairs": ["from_main"], "weight": 0.03},
    },
}


@pytest.mark.parametrize("name", TERMS)
def test_it_trains_with_terms_on_features(name):
    trial = run_spec(name, TrialSpec, TERMS[name], "from_main", epochs=2, recipe="linear")
    first, last = (report.metrics for report in fit(trial, load(trial.data), Team.here(torch.device("cpu"))))
    assert last["train/loss"] < first["train/loss"]
    assert {key.split("/")[2] for key in last if key.startswith("val/term/")} == set(TERMS[name])


@pytest.mark.parametrize(
    ("kind", "pair", "message"),
    [
        (
            "hint",
            "0.mlp.0>1.ln_1",
            r"adapter: must be conv where channels differ \(32 of the teacher, 16 of the student\)",
        ),
        ("attention", "1>0", r"must compare feature maps \[B, C, H, W\] with kind attention, got \[B, 17, 16\] and"),
        ("hint", "0.self_attention>0", r"must name modules that run and put out a tensor, got tuple of backbone"),
    ],
)
def test_tokens_that_cannot_be_compared_are_told_in_one_line(kind, pair, message):
    pairs = [">".join(f"encoder.layers.encoder_layer_{side}" for side in pair.split(">"))]
    term = {"kind": kind, "pairs": pairs, "adapter": "auto" if kind == "attention" else "pool"}
    with pytest.raises(ValueError, match=message) as caught:
        build("own_networks:tiny_vit", terms={"it": term}, recipe="linear")
    assert "\n" not in str(caught.value)


def test_channels_last_are_shown_as_maps():
    name = "own_networks:tiny_swin"
    seen = build(name, terms=TERMS[name], recipe="linear").eval()
    shown = seen(images_of(name)).features["attention/features.3>features.1"]
    assert [side[0].shape for side in shown] == [(4, 16, 2, 2), (4, 8, 4, 4)]
    plain, _ = seen.backbone.tapped(images_of(name), ("features.1",))
    assert torch.equal(shown[1][0], plain["features.1"].permute(0, 3, 1, 2))


def test_what_auto_comes_to_is_known_from_the_name():
    branches = BranchSpec(taps=("blocks.1",))
    for name in (
        "torchvision:vit_b_16",
        "torchvision:swin_t",
        "timm:deit_tiny_patch16_224",
        "timm:vit_small_patch16_224",
    ):
        assert auto_recipes(ExternalSpec(name=name), branches) == "linear at blocks.1"
    assert auto_recipes(ExternalSpec(name="timm:vitamin_small"), branches) == "bottleneck at blocks.1"


@pytest.mark.parametrize("make", [tiny_vit, tiny_swin])
def test_in_a_loop_of_one_s_own(make):
    model = make(3, 5)
    taps = ["features.1"] if make is tiny_swin else ["encoder.layers.encoder_layer_1"]
    images = torch.rand(4, 3, 8, 8)
    expected = model.eval()(images)
    net = branched(model, taps, classes=5, example=images)
    logits = net(images)
    assert torch.equal(logits["main"], expected)
    SynergyLoss()(logits, torch.arange(4)).total.backward()
    assert all(value.grad is not None for value in net.branches.parameters())
    with pytest.raises(LoopError, match=r"depth_factor: must be left out at .* and recipe linear, got 0\.5"):
        branched(model, taps, classes=5, example=images, depth_factor=0.5)
    with pytest.raises(LoopError, match=r"recipe: must be linear at .* given as an object, got 'tail'"):
        branched(model, taps, classes=5, example=images, recipe="tail")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"recipe": "tail", "width": 2.0},
            r"branches\.width: must be left out at encoder\.layers.* and recipe tail, got 2",
        ),
        (
            {"recipe": "auto"},
            r"branches\.recipe: must be linear or tail at encoder\.layers.* puts out tokens, got 'auto'",
        ),
        (
            {"recipe": "bottleneck"},
            r"branches\.recipe: must be linear or tail at encoder\.layers\.encoder_layer_0, which",
        ),
        (
            {"recipe": "tail", "taps": ["encoder.ln"]},
            r"branches\.recipe: must be linear at encoder\.ln, as no block of",
        ),
        (
            {"taps": ["encoder.layers.encoder_layer_9"], "recipe": "linear"},
            r"branches\.taps: must be modules that run .* did you mean encod",
        ),
    ],
)
def test_what_cannot_grow_is_told_in_one_line(keys, message):
    with pytest.raises(ValueError, match=message) as caught:
        build("own_networks:tiny_vit", **keys)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", TERMS)
def test_what_was_trained_ships_alone(name, tmp_path):
    trial = run_spec(name, TrialSpec, TERMS[name], "from_main", recipe="tail")
    run_trial(trial, tmp_path, torch.device("cpu"), lambda metrics: None)
    for to in ("weights", "torch.export"):
        assert "logits equal those of `main`" in export(tmp_path, to)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_torchvision_s_networks_have_their_published_size(name):
    spec = RunSpec(
        backbone=ExternalSpec(name=name), data={"name": "digits"}, branches={"taps": (LARGE[name],)}, epochs=1
    )
    with torch.device("meta"):
        net = build_network(spec, 3, 1000, 0, (224, 224))
    published = models.get_model_weights(name.partition(":")[2]).DEFAULT.meta["num_params"]
    assert count_cost(net, (3, 224, 224)).params_inference == published
    assert net(torch.empty(2, 3, 224, 224, device="meta"))[LARGE[name]].shape == (2, 1000)
