"""Early exits: a trained branch can ship too, with the part of the backbone that it needs."""

from collections.abc import Sequence
from copy import deepcopy

from torch import Tensor, nn

from dks_study.method.backbones import Backbone, Walked, Watched
from dks_study.method.branches import BranchedNet


class EarlyExit(nn.Module):
    """The network that ships when it is cut at a branch: images -> that branch's logits, and nothing else runs.

    Attributes:
        backbone: what runs up to the tap, under the names of the whole backbone.
        branch: the classifier there.
    """

    def __init__(self, net: BranchedNet, name: str) -> None:
        """Copy what the branch `name` of `net` needs; later changes of `net` do not reach it.

        Raises:
            ValueError: what must be there, if there is no such branch or the backbone cannot be cut.
        """
        super().__init__()
        *branches, _main = net.names
        check_branch(name, branches)
        if not isinstance(net.backbone, Walked):
            raise ValueError(f"must be a stage of a network that runs stage by stage (stage1, ...), got {name!r}")
        copied = deepcopy(net)
        walked = copied.backbone
        assert isinstance(walked, Walked)
        walked.cut(name)
        self._tap = name
        self.backbone, self.branch = walked, copied.branch(name)

    def plain(self) -> nn.Module:
        """Return the network that ships: itself."""
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, classes] of images [B, in_channels, H, W]."""
        logits: Tensor = self.branch(self.backbone.walk(images, (self._tap,))[self._tap])
        return logits


Shipped = Backbone | EarlyExit


def check_branch(name: str, branches: Sequence[str]) -> None:
    """Refuse a name that no branch has.

    Raises:
        ValueError: what must be there.
    """
    if name not in branches:
        raise ValueError(f"must be a branch ({', '.join(branches) or 'there is none'}), got {name!r}")


def last_module(backbone: Backbone, tap: str) -> nn.Module:
    """Return the last module that runs up to `tap`."""
    name = tap
    if isinstance(backbone, Walked):
        name = [step for step in backbone.steps_to(tap) if not step.startswith(":")][-1]
    elif isinstance(backbone, Watched):
        name = backbone.module_at(tap)
    return backbone.plain().get_submodule(name)
