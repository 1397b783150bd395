"""Any network as a backbone: it runs as its author wrote it, and is watched at the modules that are tapped."""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from dks_study.method.backbones.staged import Backbone
from dks_study.method.tapping import pick_logits, run_tapped


class Watched(Backbone):
    """Runs `model`, whose weights, hooks and code stay its own.

    Attributes:
        model: the network.
        stageless: why it cannot be walked stage by stage, for who asks for a stage; empty if nobody has looked.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        *,
        output: int | str | None = None,
        in_channels: int | None = None,
        modules: Mapping[str, str] | None = None,
        stageless: str = "",
    ) -> None:
        """Hold `model`.

        Args:
            model: returns the logits [B, classes], or several values with them.
            classes: number of classes.
            output: which of several values is the logits (`tapping.pick_logits`).
            in_channels: grey images are shown to it in so many equal channels; None: as they are.
            modules: of taps that are not named like the module where they are, its name.
            stageless: why it cannot be walked.
        """
        super().__init__()
        self.model, self.classes, self.output, self.in_channels = model, classes, output, in_channels
        self.stageless = stageless
        self._modules_at = dict(modules or {})

    def plain(self) -> nn.Module:
        """Return the network itself."""
        return self.model

    def module_at(self, tap: str) -> str:
        """Return the name of the module that is looked at for `tap`."""
        return self._modules_at.get(tap, tap)

    def tapped(self, images: Tensor, taps: Collection[str]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the feature maps of `taps` and the logits [B, classes].

        Raises:
            RuntimeError: if a module that is tapped does not run, or puts out something else than it did at first.
            ValueError: if it returns several values and which is the logits is not known.
        """
        if self.in_channels is not None and images.shape[1] != self.in_channels:
            images = images.expand(-1, self.in_channels, -1, -1)
        modules = {tap: self.module_at(tap) for tap in taps}
        result, outputs = run_tapped(self.model, images, list(modules.values()))
        features: dict[str, Tensor] = {}
        for tap, module in modules.items():
            feature = outputs.get(module)
            if not isinstance(feature, Tensor):
                raise RuntimeError(f"taps: {module} must run and put out a tensor in every pass, got {type(feature)}")
            features[tap] = feature
        return features, pick_logits(result, self.output, self.classes)
