"""What is trained with a report seed: each arm as written, as its search chose, and with one change put back. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dks_study.spec.space import ArmSpace
from dks_study.spec.study import StudySpec
from dks_study.spec.trial import Setting
from dks_study.study.cell import Cell, Choice


def confirmations(
    study: StudySpec, space: ArmSpace, members: Sequence[Setting], bare: Cell, *, searched: bool
) -> Iterator[Cell]:
    """Yield the trials of an arm with a report seed.

    Args:
        study: what it belongs to.
        space: what the arm searches.
        members: the settings that were chosen; none: it is not known yet.
        bare: the trial's place in the plan, without setting and length.
        searched: whether the arm searches at all.
    """

    def cell(setting: Setting, choice: Choice = "tuned", member: int = 0, back: str = "") -> Cell:
        epochs = study.epochs_of(bare.arm, setting, search=False)
        return replace(bare, setting=setting, epochs=epochs, choice=choice, member=member, back=back)

    written = space.completed({})
    if searched and members:
        both = members == (written,)
        yield cell(written, "both" if both else "written")
        if both:
            return
    for number, setting in enumerate(members, start=1):
        yield cell(setting, member=number if len(members) > 1 else 0)
    if members and bare.arm in study.table.one_at_a_time:
        for key, setting in space.put_back(members[0]):
            yield cell(setting, "back", back=key)
