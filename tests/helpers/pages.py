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
