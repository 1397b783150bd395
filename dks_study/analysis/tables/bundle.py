"""Keep a study, or hand it on: dks-study bundle RESULTS [TO].

TO a zip (RESULTS.zip if it is left out): one file with all that `report`, `verify` and the notebooks read: description,
ledger, trials, epochs and predictions as they are, table, citation, RO-Crate metadata.
TO a folder: what tables and figures need, and no more: trials and predictions as they are, the epochs in single
precision, the provenance and the table. Neither has checkpoints or logs.
"""

import json
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dks_study.analysis.tables.study import write_tables
from dks_study.spec.options import OptionParser, some_text
from dks_study.spec.reaching import reached
from dks_study.spec.shipped import CITATION
from dks_study.spec.yamldoc import SpecError
from dks_study.study.bundles import UNREADABLE, BundleError, pack
from dks_study.study.crate import FILES, METADATA, crate
from dks_study.study.holder import HOLDER, LOCK, holder_of
from dks_study.study.ledger import read_ledger
from dks_study.study.predictions import FILE as PREDICTIONS
from dks_study.study.provenance import PROVENANCE, read_provenance
from dks_study.study.results import Results, load_results, load_study_of

_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_ADVICE = "No licence is given, so that nobody may use it without asking: --licence CC-BY-4.0, for instance, lets them."


def bundle(results: Path, folder: Path) -> None:
    """Write trials.parquet, epochs.parquet, provenance.json, predictions and the study's tables into `folder`.

    Raises:
        ResultsError: if `results` does not hold a study.
        LedgerError, BundleError: if its ledger is damaged, or holds other trials than its results.
    """
    study = load_results(results)
    _check_ledger(results, study)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("provenance.json", "trials.parquet"):
        shutil.copyfile(results / name, folder / name)
    for name in _predictions(results, study):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(results / name, folder / name)
    floats = study.epochs.select_dtypes("float64").columns
    epochs = study.epochs.astype(dict.fromkeys(floats, "float32"))
    texts = [str(name) for name in epochs.columns.difference(floats)]
    encoding = dict.fromkeys(map(str, floats), "BYTE_STREAM_SPLIT")  # a fifth smaller than Parquet's own choice
    epochs.to_parquet(
        folder / "epochs.parquet", index=False, compression="zstd", use_dictionary=texts, column_encoding=encoding
    )
    write_tables(load_results(folder), folder)


def in_one_file(results: Path, target: Path, licence: str | None) -> None:
    """Write the bundle `target` of the study in the folder `results`, whose results are under `licence` (SPDX).

    Raises:
        ResultsError: if `results` does not hold a study.
        LedgerError, BundleError: if its ledger is damaged, or holds other trials than its results.
        OSError: if a file cannot be read or written.
    """
    study = load_results(results)  # refused if they cannot be read
    _check_ledger(results, study)
    names = [*(name for name in FILES if (results / name).is_file()), *_predictions(results, study)]
    files = {name: (results / name).read_bytes() for name in names}
    files["CITATION.cff"] = CITATION.read_bytes()
    if licence:
        files["LICENSE"] = f"SPDX-License-Identifier: {licence}\nhttps://spdx.org/licenses/{licence}\n".encode()
    metadata = crate(files, read_provenance(results), licence)
    pack({**files, METADATA: (json.dumps(metadata, indent=1) + "\n").encode()}, target)


def _check_ledger(folder: Path, study: Results) -> None:
    path = folder / "ledger.jsonl"
    if not path.exists():
        if holder_of(folder)[0]:  # else its results alone are kept here
            raise BundleError(f"{path}: must be there where a study ran, got none")
        return
    recorded = {record.cell.id for record in read_ledger(path, study.study)}
    told = set(map(str, study.trials["trial"])) if len(study.trials) else set()
    if recorded != told:
        one, other = ("ledger.jsonl", "trials.parquet") if told - recorded else ("trials.parquet", "ledger.jsonl")
        lacking = min(told - recorded or recorded - told)
        raise BundleError(f"{folder / one}: must hold all trials that {other} holds, got no {lacking}")


def _check_target(results: Path, target: Path, *, is_file: bool) -> None:
    """Refuse to write over anything but an earlier bundle of the study in `results`.

    Raises:
        BundleError: one line.
        SpecError: if nobody may look there.
    """
    if not reached(target, "TO ").exists() or (target.is_file() and not is_file):
        return  # a file in place of a folder is refused where the folder is made
    if is_file and not target.is_file():
        raise BundleError(f"TO: must be a file if it ends in .zip, got {target}, which is none")
    if not is_file and target.samefile(results):
        raise BundleError(f"TO: must be another folder than RESULTS, got {target}")
    if not (is_file or any(target.iterdir())) or _held(target) == _which(read_provenance(results)):
        return
    empty = "not be there yet" if is_file else "be empty"
    raise BundleError(f"TO: must {empty}, or be an earlier bundle of this study, got {target}, which is not")


def _held(target: Path) -> tuple[object, object] | None:
    """Return which study the bundle `target` is of; None: it is no bundle."""
    try:
        if target.is_file():
            with zipfile.ZipFile(target) as earlier:
                return _which(json.loads(earlier.read(PROVENANCE)))
        itself = any((target / name).exists() for name in ("ledger.jsonl", LOCK, HOLDER))  # which bundles have not
        return None if itself else _which(read_provenance(target))
    except (*UNREADABLE, LookupError, AttributeError):
        return None


def _which(provenance: dict[str, Any]) -> tuple[object, object]:
    """Return what tells a study from all others: its description, and its first session."""
    return provenance["study_hash"], provenance["sessions"][:1]


def _predictions(folder: Path, study: Results) -> list[str]:
    """Return the files of the predictions that are on record, by their names from `folder`; "" of a bundle."""
    kept = dict.fromkeys(str(trial) for trial in study.trials["trial"]) if len(study.trials) else {}
    names = [f"trials/{trial}/{PREDICTIONS}" for trial in kept]
    return [name for name in names if (folder / name).is_file()]


def main(words: Sequence[str]) -> int:
    """Run the command line; return 0 done.

    Raises:
        Problem: one line, if the study cannot be read or the bundle not be written.
    """
    parser = OptionParser(prog="dks-study bundle", description="Keep a study, or hand it on, in a file or a folder.")
    parser.add_argument("results", metavar="RESULTS", help="the folder of the study")
    where = "a zip: one file with everything but checkpoints and logs (RESULTS.zip); or a folder: what tables need"
    parser.add_argument("to", metavar="TO", nargs="?", type=some_text("a file or a folder"), help=where)
    licence = "in a zip: under which licence others may use the results, by its SPDX identifier, such as CC-BY-4.0"
    parser.add_argument("--licence", metavar="SPDX", help=licence)
    options = parser.parse_args(list(words))
    results = Path(options.results)
    named = results if results.name else results.absolute()
    target = Path(options.to) if options.to else named.with_name(f"{named.name}.zip")
    is_file, licence = target.suffix.lower() == ".zip", options.licence
    if licence is not None and not (is_file and _SPDX.fullmatch(licence)):
        rule = "must be an SPDX identifier such as CC-BY-4.0" if is_file else "belongs to a bundle that is a zip"
        raise SpecError(f"--licence: {rule}, got {licence!r}")
    try:
        if results.is_file():
            raise BundleError(f"RESULTS: must be the folder of a study, got the file {results}")
        load_study_of(results)
        _check_target(results, target, is_file=is_file)
        if is_file:
            in_one_file(results, target, licence)
        else:
            bundle(results, target)
    except OSError as error:
        raise BundleError(f"bundle: {error.filename or target}: {error.strerror}") from error
    if is_file:
        print(f"bundle: {target}" if licence else f"bundle: {target}\n{_ADVICE}")
    return 0
