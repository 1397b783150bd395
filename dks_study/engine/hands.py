"""What a session holds while Tune runs its trials."""

from dataclasses import dataclass

from dks_study.engine.closing import Closing
from dks_study.engine.cluster import Slots
from dks_study.engine.sharing import SharedData
from dks_study.study.adoption import Adoption
from dks_study.study.keeping import Checkpoints
from dks_study.study.ledger import Ledger
from dks_study.study.storage import Files
from dks_study.watch.mirror import Mirror
from dks_study.watch.progress import Display


@dataclass(frozen=True)
class Hands:
    """What a session holds in its hands, besides the planner.

    Attributes:
        files: those of the study.
        record: the ledger.
        slots: how many trials run at a time.
        checkpoints: what is kept of them, and whether there is room for more.
        mirror: Optuna's view of the search.
        display: what people see.
        code: hash of the code that every process must run.
        data: what trials are trained on.
        adoption: takes finished trials from other studies.
        closing: knows when the session is to end; None: when all is done.
    """

    files: Files
    record: Ledger
    slots: Slots
    checkpoints: Checkpoints
    mirror: Mirror
    display: Display
    code: str
    data: SharedData
    adoption: Adoption
    closing: Closing | None = None
