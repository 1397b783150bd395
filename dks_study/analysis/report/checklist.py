"""What a study knows of the NeurIPS paper checklist, and of what it took: dks-study checklist RESULTS.

Items 4 to 8 of the NeurIPS Paper Checklist (2025), in Markdown; the others are the authors' to answer.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dks_study.analysis.report import prose
from dks_study.analysis.report.compute import PHASES, energy, hours_by_phase, machines, peak_memory, session_hours
from dks_study.analysis.tables.comparisons import comparisons
from dks_study.analysis.tables.grid import Cell, Grid, grid_lines
from dks_study.analysis.tables.study import arm_table
from dks_study.spec.options import OptionParser
from dks_study.study.bundles import opened
from dks_study.study.provenance import read_provenance
from dks_study.study.results import Results, load_results

_OURS = "[TODO: yours to answer]"


def checklist(results: Results, recorded: Mapping[str, Any]) -> str:
    """Return the answers that follow from a study, and what it took; `recorded`: its provenance.json."""
    sessions = recorded["sessions"]
    items: dict[str, Iterable[str]] = {
        "4. Experimental result reproducibility": _reproducible(results, recorded),
        "5. Open access to data and code": [
            f"Answer: {_OURS}",
            "The software is public under the MIT licence; `dks-study bundle` makes one file of the study that"
            " `dks-study verify` checks. Whether data, own networks and the bundle are published is not known here.",
        ],
        "6. Experimental setting/details": ["Answer: Yes", *prose.protocol(results.study), *prose.data(recorded)],
        "7. Experiment statistical significance": _significance(results),
        "8. Experiments compute resources": _compute(results, sessions),
    }
    head = f"## NeurIPS paper checklist, items 4 to 8, for {results.study.name}\n\n{results.study.question}\n"
    body = ["\n".join([f"### {title}\n", *(f"{text}\n" for text in texts)]) for title, texts in items.items()]
    return "\n".join([head, *body])


def _reproducible(results: Results, recorded: Mapping[str, Any]) -> list[str]:
    if not recorded["sessions"]:
        return [f"Answer: {_OURS}", "Code, versions and machine are not on record."]
    same = "`dks-study verify` trains trials anew, drawn by lot, and compares all their numbers."
    return ["Answer: Yes", *prose.provenance(results, recorded["sessions"]), same]


def _significance(results: Results) -> Iterator[str]:
    if not len(comparisons(results)):
        yield "Answer: No"
        yield "Nothing is compared: there is no pair of arms with two paired seeds."
        return
    yield "Answer: Yes"
    yield "Errors are given as mean and standard deviation (n - 1) over seeds, which are paired over the arms."
    yield from (note.replace("**", "") for note in arm_table(results).notes)


def _compute(results: Results, sessions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "Answer: Yes" if sessions else f"Answer: {_OURS}"
    resources = results.study.trial.resources
    gpus = f", GPUs of a trial: {resources.gpus:g}" if resources.gpus else ""
    yield f"CPUs of a trial: {resources.cpus}{gpus}. Machines: {'; '.join(machines(sessions)) or 'not on record'}."
    if (grid := _hours(results)).rows:
        yield grid_lines(grid)
        yield (
            "Hours are of training alone, without evaluation and the start of processes, of every epoch on record:"
            " lost, stopped and search trials are in them; adopted trials were trained in other studies."
        )
    count = f"{len(sessions)} session{'' if len(sessions) == 1 else 's'}"
    yield f"The command ran for {session_hours(sessions):.3g} h in {count}."
    yield "; ".join([f"Energy of the machine of the command: {energy(sessions)}", *peak_memory(results)]) + "."
    yield f"Trials before this study, such as pilots: {_OURS}."


def _hours(results: Results) -> Grid:
    kind = "GPU-hours" if results.study.trial.resources.gpus else "CPU-hours"
    header = ("phase", "trials", "without result", "stopped early", "epochs", "hours", kind)
    frame = hours_by_phase(results)
    rows = [
        (
            Cell(f"{PHASES[line['phase']]}{' (adopted)' if line['adopted'] else ''}"),
            *(Cell(f"{line[name]:,.0f}") for name in ("trials", "lost", "stopped", "epochs")),
            *(Cell(_known(line, name)) for name in ("hours", "device")),
        )
        for line in frame.to_dict("records")
    ]
    return Grid("What it took", header, tuple(rows))


def _known(line: Mapping[Hashable, Any], name: str) -> str:
    """Return hours in words: those of trials whose epochs were not kept are not in them."""
    if line["unknown"] == line["trials"]:
        return "not on record"
    return f"{line[name]:.3g}" + (f" (not of {line['unknown']} trials)" if line["unknown"] else "")


def main(words: Sequence[str]) -> int:
    """Run the command line; return 0 done.

    Raises:
        Problem: one line, if the study cannot be read.
    """
    about = "Fill in what a study knows of the NeurIPS paper checklist, and say what it took in hours and energy."
    parser = OptionParser(prog="dks-study checklist", description=about)
    parser.add_argument("results", metavar="RESULTS", help="the folder of the study, or its bundle")
    options = parser.parse_args(list(words))
    with opened(Path(options.results)) as folder:
        print(checklist(load_results(folder), read_provenance(folder)), end="")
    return 0
