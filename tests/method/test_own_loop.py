"""One contract for any network with branches in one's own loop: our families, torchvision's, timm's, a user's own."""

import copy
import io
import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import own_networks
import pytest
import torch
import two_processes
from torchvision import models

from dks_study import SynergyLoss, branched
from dks_study.method.backbones import build_backbone
from dks_study.spec.backbone import (
    DenseNetSpec,
    MobileNetSpec,
    PreActResNetSpec,
    ResNetSpec,
    VGGSpec,
    WRNSpec,
)

slow = pytest.mark.slow
CLASSES, LABELS = 5, torch.tensor([0, 1, 2, 3])
OURS = {
    "resnet": ResNetSpec(name="resnet", depth=8, base_channels=4),
    "preact_resnet": PreActResNetSpec(name="preact_resnet", depth=8),
    "wrn": WRNSpec(name="wrn", depth=10, width=1, dropout=0.2),
    "densenet": DenseNetSpec(name="densenet", depth=10, growth=4, reduction=0.5),
    "mobilenet": MobileNetSpec(name="mobilenet", width=0.125),
    "vgg_bn": VGGSpec(name="vgg_bn", depth=11),
}


def ours(name):
    return build_backbone(OURS[name], 3, CLASSES, seed=0)


def timm_style():
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    return timm.create_model("resnet10t", num_classes=CLASSES, in_chans=3)


# name -> (how it is made, taps, further arguments)
NETWORKS = {
    **{name: (partial(ours, name), ["stage1", "stage2"], {}) for name in OURS},
    "resnet at modules": (partial(ours, "resnet"), ["stages.stage1.0", "stages.stage2.0"], {}),
    "resnet18": (lambda: models.resnet18(num_classes=CLASSES), ["layer2", "layer3"], {}),
    "mobilenet_v3_small": (lambda: models.mobilenet_v3_small(num_classes=CLASSES), ["features.3", "features.8"], {}),
    "densenet121": (
        lambda: models.densenet121(num_classes=CLASSES),
        ["features.denseblock2", "features.denseblock3.denselayer2"],
        {"recipe": "linear"},
    ),
    "convnext_tiny": (lambda: models.convnext_tiny(num_classes=CLASSES), ["features.1", "features.3"], {}),
    "timm": (timm_style, ["layer1", "layer2"], {}),
    "functional": (lambda: own_networks.Functional(3, CLASSES), ["a", "b"], {}),
    "nested": (lambda: own_networks.Nested(3, CLASSES), ["0", "1.0"], {}),
    "shared": (lambda: own_networks.Shared(3, CLASSES), ["stem", "block"], {}),
    "squeezed": (lambda: own_networks.Squeezed(3, CLASSES), ["one"], {}),
}  # fmt: skip
OUTPUTS = {
    "tuple": (own_networks.TupleOut, None, lambda result: result[0]),
    "dict": (own_networks.DictOut, "logits", lambda result: result["logits"]),
    "object": (own_networks.ObjectOut, None, lambda result: result.logits),
}
LARGE = ("densenet121", "convnext_tiny", "mobilenet_v3_small", "resnet18", "timm")
QUICK = ("resnet", "functional", "nested", "shared")


def marked(names, quick):
    return pytest.mark.parametrize("name", [n if n in quick else pytest.param(n, marks=slow) for n in names])


by_network = marked(NETWORKS, [name for name in NETWORKS if name not in LARGE])
by_small_network = marked([name for name in NETWORKS if name not in LARGE[:3]], QUICK)
pytestmark = pytest.mark.usefixtures("one_thread")


def images(count=4, seed=0):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def build(name):
    torch.manual_seed(0)
    make, taps, more = NETWORKS[name]
    return branched(make(), taps, CLASSES, example=images(2), **more)


def run(net, batch):
    """Outputs from one state of the random streams."""
    torch.manual_seed(7)
    return net(batch)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def hooked(net):
    return [name for name, module in net.named_modules() if module._forward_hooks or module._forward_pre_hooks]


@by_network
def test_the_contract_of_a_branched_network(name):
    torch.manual_seed(0)
    make, taps, more = NETWORKS[name]
    model = make()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    own, random = [id(parameter) for parameter in model.parameters()], torch.get_rng_state()
    net = branched(model, taps, CLASSES, example=images(2), **more)

    assert net.plain() is model
    assert [id(parameter) for parameter in net.plain().parameters()] == own
    assert same(model.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert net.names == (*taps, "main")

    bare = copy.deepcopy(model)
    for mode in (True, False):
        logits = run(net.train(mode), images())
        assert tuple(logits) == net.names
        assert all(each.shape == (4, CLASSES) for each in logits.values())
        assert torch.equal(logits["main"], run(bare.train(mode), images()))
    assert same(model.state_dict(), bare.state_dict())  # batch statistics among them

    SynergyLoss(pairing="dense")(run(net.train(), images()), LABELS).total.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())  # DDP finds no unused ones
    assert not hooked(net)


@by_network
def test_a_branch_alone_reaches_what_lies_below_its_tap(name):
    net = build(name).train()
    net(images())[net.names[0]].logsumexp(1).sum().backward()
    reached = {key for key, parameter in net.named_parameters() if parameter.grad is not None}
    first = next(iter(net.branches))
    own = {key for key, _ in net.named_parameters() if key.startswith(f"branches.{first}.")}
    assert own < reached
    assert reached - own
    assert not any(key.startswith("branches.") for key in reached - own)
    assert reached - own < {key for key, _ in net.named_parameters() if key.startswith("backbone.model.")}


@by_small_network
def test_copies_pickles_and_state_dicts_compute_the_same(name):
    net = build(name).eval()
    wanted = run(net, images())
    assert same(run(copy.deepcopy(net), images()), wanted)
    assert same(run(pickle.loads(pickle.dumps(net)), images()), wanted)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    torch.manual_seed(99)
    make, taps, more = NETWORKS[name]
    other = branched(make(), taps, CLASSES, example=images(2), **more).eval()
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert same(run(other, images()), wanted)
    alone = make().eval()
    alone.load_state_dict(net.plain().state_dict(), strict=True)
    assert torch.equal(run(alone, images()), wanted["main"])


@by_small_network
def test_compiled_whole_it_computes_the_same(name):
    net = build(name).eval()
    wanted = run(net, images())
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for key, logits in run(compiled, images()).items():
        torch.testing.assert_close(logits, wanted[key])
    assert not hooked(net)
    torch._dynamo.reset()


@slow
def test_compiled_by_inductor_it_trains_the_same():
    one, other = build("nested").train(), build("nested").train()
    compiled = torch.compile(other, fullgraph=True)
    for net in (one, compiled):
        SynergyLoss()(run(net, images()), LABELS).total.backward()
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    torch._dynamo.reset()


@by_small_network
def test_it_can_be_exported_as_a_program(name):
    net = build(name).eval()
    program = torch.export.export(net, (images(),)).module()
    for key, logits in program(images()).items():
        torch.testing.assert_close(logits, net(images())[key], rtol=1e-4, atol=1e-5)


@by_small_network
def test_under_autocast_it_runs_in_half_precision_and_the_loss_does_not(name):
    net = build(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(images())
        terms = SynergyLoss()(logits, LABELS)
    assert {each.dtype for each in logits.values()} == {torch.bfloat16}
    assert terms.total.dtype == torch.float32
    terms.total.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


@slow
def test_two_processes_train_what_one_does(tmp_path):
    paths = [str(Path(__file__).parents[2]), str(Path(two_processes.__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, two_processes.__file__]
    group = [subprocess.Popen([*script, str(rank), str(tmp_path)], env=environment) for rank in (0, 1)]
    net = two_processes.network()
    losses = two_processes.train(net, 0, 1)
    assert [process.wait(timeout=300) for process in group] == [0, 0]
    shares = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.tensor([share["losses"] for share in shares]).mean(0).tolist() == pytest.approx(losses, rel=1e-5)
    for share in shares:
        for key, value in net.state_dict().items():
            torch.testing.assert_close(share["state"][key], value, rtol=1e-5, atol=1e-6)
