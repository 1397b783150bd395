"""What all descriptions share: frozen, strict, unknown keys refused, a hash of their content; and all errors."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, lt=1)]
SEEDS = 2**31
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
# Whole numbers end far above any use, and far below what numbers of 64 bits, Ray, PyTorch or Optuna overflow at.
MOST_LAYERS, MOST_EPOCHS, MOST_TRIALS = 10_000, 1_000_000, 100_000
Channels = Annotated[int, Field(ge=1, le=65_536)]
Trials = Annotated[int, Field(ge=1, le=MOST_TRIALS)]  # or groups, repeats and seeds of them
NAME = r"^[a-z][a-z0-9_]{0,39}$"
Name = Annotated[str, Field(pattern=NAME)]


class Problem(Exception):
    """The base of all errors that a person can put right.

    The message is one line: the key or the file, the rule, the value; it holds no password.
    """


def printable(text: str) -> str:
    """Return `text` with everything escaped that is not for printing: newlines, and bytes that are no UTF-8."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class LostError(Problem, RuntimeError):
    """What a study ran on was lost: the same command goes on where it stopped."""


def in_one_line(error: BaseException) -> str:
    """Return the type and the message of an error of somebody's code on one line, for the end of a message of ours."""
    try:
        said = f"{type(error).__name__}: {error}"
    except Exception:  # its words are somebody's code, too
        said = type(error).__name__
    return " ".join(said.split())


class Spec(BaseModel):
    """Base of all descriptions: frozen, strict, unknown keys refused, hashable by content."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def content_hash(self) -> str:
        """Return 10 hex digits that depend on every value in the description and on nothing else."""
        return hash_of(self.hashed())

    def hashed(self, exclude: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what hashes are made of: all values as JSON has them, but for what `Extended` leaves out."""
        values = self.model_dump(mode="json", exclude=dict(exclude or {}))
        _leave_out(self, values)
        return values


class Extended(Spec):
    """A description with keys that came when there were results: at their defaults hashes leave them out.

    Without this, earlier results would not be found again, though they are what they were. All else shows such keys.
    """

    LATER: ClassVar[tuple[str, ...]]

    def later_at_default(self) -> list[str]:
        """Return the keys that hashes leave out."""
        fields = type(self).model_fields
        return [key for key in self.LATER if getattr(self, key) == fields[key].default]


_LEAVES = {int, float, str, bool, type(None)}


def _leave_out(described: object, values: Any) -> None:  # noqa: ANN401  # as JSON has it
    """Take out of `values`, which is what `described` looks like in JSON, what hashes leave out, at any depth."""
    if isinstance(described, Extended):
        for key in described.later_at_default():
            values.pop(key, None)
    if isinstance(described, Spec):
        for key, each in vars(described).items():
            if type(each) not in _LEAVES and key in values:  # thousands of trials have some hundred leaves each
                _leave_out(each, values[key])
    elif isinstance(described, tuple):
        for each, value in zip(described, values, strict=True):
            _leave_out(each, value)
    elif isinstance(described, Mapping):
        for each, value in zip(described.values(), values.values(), strict=True):
            _leave_out(each, value)


class Pretrained(Extended):
    """What every description of a backbone has.

    Attributes:
        weights: what its training starts from: a file with a state_dict of this very network (`dks-study export --to
            weights`, torch.save, .safetensors), or the name under which torchvision (IMAGENET1K_V2) or timm (a1_in1k)
            publishes them, which are fetched where they are not in its cache. A last layer for other classes is left
            out. By default weights are fresh.
        uniform_batch_norm: the scales of batch norm start from U(0, 1), as in the authors' code, in branches too; by
            default as the network has them, mostly at 1.
    """

    LATER = ("weights", "uniform_batch_norm")

    weights: str | None = Field(default=None, min_length=1)
    uniform_batch_norm: bool = False


def hash_of(content: dict[str, Any]) -> str:
    """Return 10 hex digits that depend on `content` alone, which JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
