"""Does deep supervision with knowledge synergy help my network, and how should it be set up?

The method in a training loop of one's own, around any network:

    net = branched(model, taps=["layer2", "layer3"], classes=10)
    loss = SynergyLoss(pairing="dense")
    loss(net(images), labels).total.backward()

Studies, from Python and notebooks:

    study = load("dense_vs_oneway", set={"trial.epochs": 10})
    results = run(study)  # or read("results/dense_vs_oneway-...")
    results.table()

Importing this costs nothing: what stands behind a name is imported when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dks_study.method.own_loop import branched
    from dks_study.method.own_loss import SynergyLoss
    from dks_study.spec.base import Problem
    from dks_study.studies import StudyResults, load, read, run

__version__ = "0.2.0"
__all__ = ["Problem", "StudyResults", "SynergyLoss", "branched", "load", "read", "run"]

_HOMES = {
    "Problem": "dks_study.spec.base",
    "StudyResults": "dks_study.studies",
    "SynergyLoss": "dks_study.method.own_loss",
    "branched": "dks_study.method.own_loop",
    "load": "dks_study.studies",
    "read": "dks_study.studies",
    "run": "dks_study.studies",
}


def __getattr__(name: str) -> object:
    """Import what stands behind a public name (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dks_study' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*globals(), *__all__])
