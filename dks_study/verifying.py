"""A stranger's check of a study: dks-study verify FOLDER --share 5% --number N. It trains some trials anew."""

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dks_study.spec.data import DataSpec
from dks_study.spec.options import OptionParser, some_text, whole
from dks_study.spec.reaching import reached
from dks_study.spec.study import StudySpec
from dks_study.spec.yamldoc import SpecError
from dks_study.studies import read
from dks_study.study import provenance
from dks_study.study.bundles import opened
from dks_study.study.claiming import claimed
from dks_study.study.claims import Claim, ClaimError, chance, claims_in, digest, drawn
from dks_study.study.ledger import write_whole
from dks_study.study.machine import processor
from dks_study.study.verifying import Verdict, described, moved, train_anew, unlike_then
from dks_study.training.data.fingerprint import contents_of, fingerprint

EXIT_DIFFERS = 1
_SHOWN = 3
_KEYS = {"study", "claims", "number", "trained_anew"}  # some of those of a certificate


@dataclass(frozen=True)
class Check:
    """What is checked, and how.

    Attributes:
        number: decides which trials are drawn.
        share: of the claims that is drawn, 0 to 1.
        within: by how many points accuracies may differ; None: all numbers must be the same to the last bit.
        unlike: in what machine and code are not those of the study.
        root: where the images are by now; None: where they were.
    """

    folder: Path
    number: int
    share: float
    within: float | None
    unlike: tuple[str, ...]
    root: str | None


def main(words: Sequence[str]) -> int:
    """Run the command line; return 0 if all that was drawn agrees, else 1.

    Raises:
        Problem: one line, if the study cannot be checked here.
    """
    about = "Train some trials of a study anew, drawn by lot, and compare all their numbers."
    parser = OptionParser(prog="dks-study verify", description=about)
    parser.add_argument("folder", metavar="FOLDER", help="of the study, or of its kept results; or its bundle")
    parser.add_argument("--number", metavar="N", required=True, help="decides which: choose one that nobody knows")
    parser.add_argument("--share", metavar="5%", default="5%", help="of its finished trials, rounded up (5%%)")
    apart = "how many points accuracies may be apart where processor, versions or code are others (else not a bit)"
    parser.add_argument("--within", metavar="POINTS", help=apart)
    parser.add_argument("--root", metavar="FOLDER", help="where the images are by now (data.root)")
    certificate = "what is written (certificate-N.json in FOLDER)"
    parser.add_argument("--certificate", metavar="FILE", type=some_text("a file"), help=certificate)
    options = parser.parse_args(list(words))
    number, share, within = _number(options.number), _share(options.share), _points(options.within)
    path = reached(Path(options.folder))
    beside = path.with_name(f"{path.stem}-certificate-{number}.json") if path.is_file() else None
    with opened(path) as folder:
        to = Path(options.certificate or beside or folder / f"certificate-{number}.json")
        return _verify(Check(folder, number, share, within, (), options.root), to)


def _verify(check: Check, path: Path) -> int:
    """Check a study, write the certificate `path`, and say what came out; return the exit status."""
    folder = check.folder
    study, claims = claims_in(folder)
    unlike = unlike_then(provenance.read_provenance(folder))
    if unlike and check.within is None:
        raise ClaimError(f"--within: must be given where not all is as it was ({'; '.join(unlike[:_SHOWN])})")
    check = replace(check, within=check.within if unlike else None, unlike=tuple(unlike))
    _check_writable(path)  # not after hours of training
    verdicts = _verdicts(study, claims, check)
    text = _certificate(study, claims, check, verdicts)
    for altered in dict.fromkeys((1, math.ceil(len(claims) / 10))):
        found = chance(len(claims), len(verdicts), altered)
        trials = "one altered trial" if altered == 1 else f"{altered} altered trials"
        print(f"Of {trials} at least one is drawn with probability {found:.0%}.")
    said = "Agrees" if text["agrees"] else "DOES NOT AGREE"
    try:
        write_whole(path, json.dumps(text, indent=1) + "\n")
    except OSError as error:
        print(said)  # there may have been room before
        raise _unwritable(path, error) from error
    print(f"{said}: {path}")
    return 0 if text["agrees"] else EXIT_DIFFERS


def _verdicts(study: StudySpec, claims: Sequence[Claim], check: Check) -> list[Verdict]:
    """Train what is drawn, and say what becomes of it."""
    lot = drawn(claims, check.share, check.number)
    same_code = not any(each.startswith("code") for each in check.unlike)
    trials = [moved(described(study, claim, same_code=same_code), check.root) for claim in lot]
    _refuse_other_data(check.folder, trials[0].data)
    print(
        f"{len(lot)} of {len(claims)} trials are trained anew, drawn by {digest(claims)} and {check.number}.",
        flush=True,
    )
    verdicts = list[Verdict]()
    for claim, trial in zip(lot, trials, strict=True):
        with tempfile.TemporaryDirectory(prefix="dks_study-") as place:
            verdicts.append(train_anew(claim, trial, Path(place, "trial")))
        print(f"[{len(verdicts)}/{len(lot)}] {_in_words(verdicts[-1], check.within)}", flush=True)
    return verdicts


def _certificate(
    study: StudySpec, claims: Sequence[Claim], check: Check, verdicts: Sequence[Verdict]
) -> dict[str, object]:
    exact = "every number of every epoch that is on record, to the last bit"
    table = _table_comes_out(check.folder)
    told = [{**asdict(verdict), "agrees": verdict.agrees(check.within)} for verdict in verdicts]
    return {
        "study": study.name,
        "claims": digest(claims),
        "number": check.number,
        "trials": len(claims),
        "compared": exact
        if check.within is None
        else f"accuracies after the last epoch, within {check.within:g} points",
        "unlike_then": list(check.unlike),
        "processor": processor(),
        "date": provenance.now(),
        "table_comes_out_of_the_trials": table,
        "trained_anew": told,
        "agrees": all(each["agrees"] for each in told) and table is not False,
    }


def _in_words(verdict: Verdict, within: float | None) -> str:
    if verdict.agrees(within):
        return f"{verdict.trial}: {'the same' if not verdict.differs else f'{verdict.points:.2f} points apart at most'}"
    told = (f"{name} {one} there, {other} here" for name, (one, other) in list(verdict.differs.items())[:_SHOWN])
    return f"{verdict.trial}: DIFFERS: {'; '.join(told)}"


def _table_comes_out(folder: Path) -> bool | None:
    """Is table.md what the trials come to? None: there is no table."""
    path = folder / "table.md"
    return str(read(folder)).rstrip() == path.read_text(encoding="utf-8").rstrip() if path.exists() else None


def _refuse_other_data(folder: Path, spec: DataSpec) -> None:
    known = provenance.read_provenance(folder).get("data")
    if known and known["fingerprint"] != (here := fingerprint(contents_of(spec)).digest):
        rule = "must be the images that the study was run on"
        raise ClaimError(f"--root: {rule}, fingerprint {known['fingerprint']}, got {here}")


def _number(text: str) -> int:
    if (number := whole(text)) is None:
        raise SpecError(f"--number: must be a whole number of at most ten digits, 0 or more, got {text!r}")
    return number


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else math.nan
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise SpecError(f"--share: must be above 0% and at most 100%, got {text!r}")
    return share


def _points(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        points = float(text)
    except ValueError:
        points = math.nan
    if not 0 < points < 100:
        raise SpecError(f"--within: must be points above 0 and below 100, got {text!r}")
    return points


def _check_writable(path: Path) -> None:
    """Refuse a certificate that cannot be written, or would be written over anything but an earlier one.

    Raises:
        ClaimError: one line.
    """
    try:
        temporary = claimed(path, ".tmp", "", _KEYS)
    except OSError as error:
        raise _unwritable(path, error) from error
    if temporary is None:
        raise ClaimError(f"--certificate: must be new, or an earlier certificate, got {path}, which is none")
    temporary.unlink()


def _unwritable(path: Path, error: OSError) -> ClaimError:
    return ClaimError(f"--certificate {path}: {error.strerror}")
