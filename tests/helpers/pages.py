"""The pages that a reader sees, their blocks of code, and the commands in them.

A block with a title is a file, which later blocks use. What a block needs that no reader wants to see stands above it:
`<!-- run first: ... -->`, in Python. A block that cannot run here has `<!-- not run: WHY -->` above it.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANUAL = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*MANUAL, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "cluster" / "README.md"]
PROGRAMS = ("python", "python3", "dks-study", "pip", "pytest", "run_study.py", "tensorboard", "optuna-dashboard", "ray")
PROGRAMS += ("sbatch", "source", "ruff", "mypy", "lint-imports", ".ci/run", "mkdocs", "pdflatex")
_STANDING_IN = {"FOLDER": "data", "/path/to/imagenet": "data", "...": "dense_vs_oneway"}  # for what a reader fills in
_BLOCK = re.compile(
    r"<!-- run first:\n(?P<first>.*?)-->"
    r"|(?:<!-- not run: (?P<why>[^\n]+) -->\n\n?)?"
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[\w.]+)\")?\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A block of a page; `why` it cannot run here."""

    language: str
    text: str
    title: str | None = None
    why: str | None = None


def blocks_of(page):
    """Return the blocks of a page in their order; what is run first is one of Python."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [
        Block("python", each["first"]) if each["first"] else Block(*each.group("language", "text", "title", "why"))
        for each in found
    ]


def files_of(pages):
    """Return the files that the pages show, by name."""
    return {block.title: block.text for page in pages for block in blocks_of(page) if block.title}


def tables_in(text):
    """Yield the tables of a page: rows of cells, the header first. A row that has no header is a table of its own."""
    shown = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n?)+", shown, re.MULTILINE):
        yield [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]


def told(name):
    """Return what stands as `code` in the first column of the tables of a page of the reference, by headings above."""
    parts = re.split(r"^## (.+)$", (ROOT / "docs/reference" / name).read_text("utf-8"), flags=re.MULTILINE)
    sections = dict(zip(["", *parts[1::2]], parts[::2], strict=True))
    rows = {title: re.findall(r"^\| (`.+?) \|", text, re.MULTILINE) for title, text in sections.items()}
    return {title: re.findall("`([^`]+)`", " ".join(found)) for title, found in rows.items()}


def patterns_of_metrics():
    """Return each metric of the page of columns as a pattern that its columns match."""
    name, split = r"[\w.]+", "(train|val|test|test_chosen)"
    features = rf"{name}(\+{name})?"  # of a term of kind `fsp` two taps
    standing_in = {
        "SPLIT": split, "TERM/TEACHER>STUDENT": rf"\w+/{features}>{features}", "TEACHER>STUDENT": rf"{name}>{name}",
        "NAME": name, "WAY": r"\d+",
    }  # fmt: skip
    page = told("columns.md")
    metrics = []
    for metric in [*page["Metrics"], *set(page["Early exits"]) - {"trial.exits", "WAY"}]:
        for word, pattern in standing_in.items():
            metric = metric.replace(word, pattern)
        metrics.append(metric)
    return metrics


def commands_in(path):
    """Yield each command of a page, as words: lines of its bash blocks, and what it shows as `code`."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        texts = re.findall(r"^#(?: Command:)?\s+((?:python run_study.py|dks-study) .*)$", text, re.MULTILINE)
    else:
        blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        texts = [line for block in blocks for line in block.splitlines()]
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
        texts += [code for code in inline if re.sub(r"^(\w+=\S+ |taskset -c \d+ )+", "", code).split()[0] in PROGRAMS]
    for line in texts:
        for command in line.split(" && "):
            words = shlex.split(command, comments=True)
            while words and (re.fullmatch(r"[A-Z_]+=\S+", words[0]) or words[0] == "taskset"):
                words = words[3:] if words[0] == "taskset" else words[1:]
            if words:
                yield [_STANDING_IN.get(word, word).replace("=FOLDER", "=data") for word in words]
