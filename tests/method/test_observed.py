"""What terms on features see: the network's own feature maps, adapted, from the one pass that makes the logits."""

import copy
import pickle

import pytest
import torch
from pseudo import pseudo
from torch import nn

from dks_study.method.networks import Cohort, build_network, own_weights
from dks_study.method.observed import Observed
from dks_study.method.synergy import objective_for
from dks_study.spec.trial import RunSpec
from dks_study.training.cost import count_cost

IMAGES = pseudo("images", (6, 1, 8, 8)).float()
TARGETS = torch.arange(6)
RESNET = {"name": "resnet", "depth": 14, "base_channels": 4}
TAPS = {"taps": ["stage1", "stage2"]}
OWN_TERMS = {
    "hint": {"kind": "hint", "pairs": ["stage3>stage1", "stage2>stage2.1"]},
    "attention": {"kind": "attention", "pairs": ["stage2>stage1"]},
    "fsp": {"kind": "fsp", "pairs": ["stage2.1+stage2>stage1+stage2.1"], "adapter": "conv"},
    "embedding": {"kind": "embedding", "pairs": ["from_main"]},
    "dkd": {"kind": "dkd", "pairs": ["main>stage1"]},
}
# kind -> how a backbone from elsewhere is written; RGB images of 64 pixels
ELSEWHERE = {
    "walked": {"name": "torchvision:resnet18"},
    "watched": {"name": "own_networks:Skips"},
}


def run_spec(terms, backbone=RESNET, branches=TAPS, **more):
    values = {"backbone": backbone, "data": {"name": "digits"}, "epochs": 1, "branches": branches, **more}
    values["loss"] = {"pairing": "none", "terms": terms}
    return RunSpec.model_validate(values, strict=False)


def network(terms, *args, seed=0, **kwargs):
    return build_network(run_spec(terms, *args, **kwargs), 1, 10, seed, (8, 8))


@pytest.fixture
def teacher(tmp_path):
    frozen = build_network(run_spec({}, branches={}), 1, 10, 7).backbone
    torch.save(frozen.state_dict(), tmp_path / "teacher.pt")
    return {"weights": str(tmp_path / "teacher.pt"), "backbone": RESNET}


def test_without_terms_on_features_the_network_is_what_it_was():
    assert not isinstance(network({}), Observed)
    assert not isinstance(network({"dkd": OWN_TERMS["dkd"]}), Observed)


def test_terms_change_nothing_of_the_network():
    plain, seen = network({}), network(OWN_TERMS)
    assert all(torch.equal(seen.network.state_dict()[key], value) for key, value in plain.state_dict().items())
    logits = seen.eval()(IMAGES).logits
    assert all(torch.equal(logits[name], value) for name, value in plain.eval()(IMAGES).items())


def test_features_are_those_of_the_taps():
    seen = network(OWN_TERMS).eval()
    walked = seen.network.backbone.walk(IMAGES, ("stage2.1",))
    features = seen(IMAGES).features
    assert list(features) == [
        *("hint/stage3>stage1", "hint/stage2>stage2.1", "attention/stage2>stage1"),
        *("fsp/stage2.1+stage2>stage1+stage2.1", "embedding/main>stage1", "embedding/main>stage2"),
    ]
    ((attended,), (student,)) = features["attention/stage2>stage1"]
    assert torch.equal(attended, walked["stage2"])
    assert torch.equal(student, walked["stage1"])
    assert torch.equal(features["hint/stage3>stage1"][0][0], walked["stage3"])
    assert torch.equal(features["fsp/stage2.1+stage2>stage1+stage2.1"][0][0], walked["stage2.1"])


def test_an_embedding_is_what_the_last_linear_layers_are_given():
    seen = network({"it": OWN_TERMS["embedding"]}).eval()
    logits, features = seen(IMAGES)
    ((main,), (branch,)) = features["it/main>stage1"]
    head = seen.network.backbone.head.fc
    torch.testing.assert_close(nn.functional.linear(main, head.weight, head.bias), logits["main"])
    last = [module for module in seen.network.branch("stage1").modules() if isinstance(module, nn.Linear)][-1]
    torch.testing.assert_close(nn.functional.linear(branch, last.weight, last.bias), logits["stage1"])


def test_adapters_lead_from_the_student_s_channels_to_the_teacher_s():
    seen = network(OWN_TERMS)
    hint, same, attention, flow, *embeddings = seen.comparisons
    assert (hint.adapters[0].in_channels, hint.adapters[0].out_channels) == (4, 16)
    assert isinstance(same.adapters[0], nn.Conv2d), "a hint has its regressor whatever the channels"
    assert isinstance(attention.adapters[0], nn.Identity)
    assert [each.out_channels for each in flow.adapters] == [8, 8]
    early, late = (each.adapters[0] for each in embeddings)
    assert isinstance(early, nn.Identity), "of equal widths"
    assert (late.in_features, late.out_features) == (32, 16), "the late branch is twice as wide"


def test_an_adapter_starts_alike_whatever_else_there_is():
    alone = network({"hint": {"kind": "hint", "pairs": ["stage3>stage1"]}})
    among = network(OWN_TERMS, peers=[{}])
    assert torch.equal(alone.comparisons[0].adapters[0].weight, among.comparisons[0].adapters[0].weight)
    other = network({"hint": {"kind": "hint", "pairs": ["stage3>stage1"]}}, seed=1)
    assert not torch.equal(alone.comparisons[0].adapters[0].weight, other.comparisons[0].adapters[0].weight)


def test_training_costs_adapters_and_inference_does_not():
    plain, seen = network({}), network(OWN_TERMS)
    costs = [count_cost(net, (1, 8, 8)) for net in (plain, seen)]
    adapters = [adapter for each in seen.comparisons for adapter in each.adapters]
    # 1x1 convolutions at each pixel of the student's map: two of hints, two of the flow
    macs = 64 * 4 * 16 + 16 * 8 * 8 + 64 * 4 * 8 + 16 * 8 * 8
    linear = [each for each in adapters if isinstance(each, nn.Linear)]
    macs += sum(each.in_features * each.out_features for each in linear)
    assert costs[1].macs_train - costs[0].macs_train == macs
    assert costs[1].params_train - costs[0].params_train == sum(
        p.numel() for each in adapters for p in each.parameters()
    )
    assert costs[1].params_inference == costs[0].params_inference
    assert costs[1].macs_inference == costs[0].macs_inference


def gradients(run, net, student):
    """Which parameters the named terms alone give a gradient."""
    objective = objective_for(run.loss, run.classifiers)
    logits, features = net(IMAGES)
    alone = objective_for(run.loss.model_copy(update={"terms": {}}), run.classifiers)
    (objective(logits, TARGETS, features=features).total - alone(logits, TARGETS).total).backward()
    return {name for name, each in net.named_parameters() if each.grad is not None and each.grad.abs().max() > 1e-9}


@pytest.mark.parametrize("kind", ["hint", "attention", "fsp"])
def test_what_lies_before_the_student_learns_and_the_teacher_does_not(kind, teacher):
    side = "stage1+stage2" if kind == "fsp" else "stage2"
    run = run_spec({"it": {"kind": kind, "pairs": [f"teacher.{side}>{side}"]}}, teacher=teacher)
    net = build_network(run, 1, 10, 0, (8, 8))
    net.network.own.backbone.load_state_dict(build_network(run_spec({}, branches={}), 1, 10, 3).backbone.state_dict())
    found = gradients(run, net, "stage2")
    learning = {name for name in found if not name.startswith("comparisons.")}
    assert learning
    assert all(name.startswith(("network.own.backbone.stem", "network.own.backbone.stages.stage")) for name in learning)
    assert not any("stage3" in name for name in learning)
    assert any(name.startswith("comparisons.") for name in found) == (kind == "hint")


def test_a_peer_teaches_and_learns():
    terms = {"it": {"kind": "hint", "pairs": ["peer1.stage2>stage1", "stage3>peer1.stage1"]}}
    run = run_spec(terms, peers=[{}])
    net = build_network(run, 1, 10, 0, (8, 8))
    assert isinstance(net.network, Cohort)
    learning = {name for name in gradients(run, net, "") if "stages" in name}
    assert {name.split(".stages.")[0] for name in learning} == {"network.own.backbone", "network.peers.0.backbone"}
    assert not any("stage2" in name or "stage3" in name for name in learning), "teachers are constants"


@pytest.mark.parametrize("backbone", ELSEWHERE.values(), ids=ELSEWHERE)
def test_networks_from_elsewhere_are_seen(backbone):
    watched = backbone["name"].startswith("own")
    taps = ["one", "two"] if watched else ["stage1", "stage2"]
    first, second = taps
    terms = {
        "hint": {"kind": "hint", "pairs": [f"{second}>{first}"]},
        "attention": {"kind": "attention", "pairs": [f"{second}>{first}"]},
        "embedding": {"kind": "embedding", "pairs": ["from_main"]},
    }
    run = run_spec(terms, backbone, {"taps": taps, "recipe": "linear"})
    net = build_network(run, 3, 10, 0, (64, 64)).eval()
    images = pseudo("rgb", (2, 3, 64, 64)).float()
    logits, features = net(images)
    plain = build_network(run_spec({}, backbone, {"taps": taps, "recipe": "linear"}), 3, 10, 0, (64, 64)).eval()
    assert all(torch.equal(logits[name], value) for name, value in plain(images).items())
    shown, _ = plain.backbone.tapped(images, taps)
    assert torch.equal(features[f"attention/{second}>{first}"][0][0], shown[second])
    assert torch.equal(features[f"attention/{second}>{first}"][1][0], shown[first])


def test_copies_and_pickles_see_the_same_and_the_own_weights_are_found(teacher):
    seen = network(OWN_TERMS, peers=[{}], teacher=teacher).eval()
    expected = seen(IMAGES)
    for twin in (copy.deepcopy(seen), pickle.loads(pickle.dumps(seen))):
        found = twin(IMAGES)
        assert all(torch.equal(found.logits[name], value) for name, value in expected.logits.items())
        assert all(torch.equal(found.features[key][1][0], sides[1][0]) for key, sides in expected.features.items())
    for net in (seen, seen.network, network(OWN_TERMS), network({})):
        assert own_weights(net.state_dict()).keys() == network({}).state_dict().keys()


@pytest.mark.slow
def test_compiled_in_one_graph_it_sees_the_same():
    seen = network(OWN_TERMS).eval()
    compiled = torch.compile(seen, backend="eager", fullgraph=True)
    expected, found = seen(IMAGES), compiled(IMAGES)
    assert all(torch.equal(found.logits[name], value) for name, value in expected.logits.items())
    assert all(torch.equal(found.features[key][1][0], sides[1][0]) for key, sides in expected.features.items())


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            {"kind": "hint", "pairs": ["stages>stage1"]},
            r"must name modules that run and .* got nothing of backbone\.stages in",
        ),
        ({"kind": "hint", "pairs": ["stag2>stage1"]}, r"loss\.terms\.it\.pairs: must name modules .* got 'stag2' in"),
        (
            {"kind": "hint", "pairs": ["stage3>stage1"], "adapter": "pool"},
            r"adapter: must be conv .*16 of the teacher, 4",
        ),
        (
            {"kind": "fsp", "pairs": ["stage2+stage3>stage1+stage2"]},
            r"loss\.terms\.it\.adapter: must be conv where chan",
        ),
        ({"kind": "hint", "pairs": ["head.fc>stage1"]}, r"must compare features of the same kind .* got \[B, 10\] and"),
        ({"kind": "attention", "pairs": ["head.fc>head.fc2"]}, r"must name modules .* got 'head\.fc2'"),
        (
            {"kind": "attention", "pairs": ["head.fc>head.flatten"]},
            r"must compare feature maps \[B, C, H, W\] with kind",
        ),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(term, message):
    with pytest.raises(ValueError, match=message) as caught, torch.device("meta"):
        network({"it": term})
    assert "\n" not in str(caught.value)
