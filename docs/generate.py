"""What the manual generates when it is built: the page of all keys, of what ships, and of the command's options.

A hook of MkDocs (mkdocs.yml); it also brings in figures and the notes of benchmarks/, which live elsewhere, and turns
formulas (blocks of `math`) into MathML, which browsers draw without any script.
"""

import base64
import contextlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic.fields import FieldInfo

from dks_study import cli
from dks_study.spec.backbone import EXTERNAL_NAME
from dks_study.spec.base import Spec
from dks_study.spec.keys import all_specs, prose_of, specs_in, words_of
from dks_study.spec.schema import Schema, schemas
from dks_study.spec.shipped import SPACES
from dks_study.spec.study import StudySpec
from dks_study.spec.yamldoc import load_document

ROOT = Path(__file__).resolve().parent.parent
_MATH = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$", re.MULTILINE)
_ABOUT = {"questions": (SPACES, "question"), "scales": (SPACES / "profiles", "about")}
_ABOUT |= {"recipes": (SPACES / "recipes", "about")}
_DRAWN = {"where.png": "08_where_does_it_help"}  # by notebooks: the first picture of each
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}
_KINDS = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "string": "text"}
_KINDS |= {"null": "`null`"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, figures and benchmark notes."""
    pages = {"reference/keys.md": keys_page()}
    pages |= {
        f"how-fast/{note.stem}.md": note.read_text("utf-8") for note in sorted((ROOT / "benchmarks").glob("*.md"))
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    for figure in (ROOT / "analysis/figures").glob("*.png"):
        files.append(File.generated(config, f"assets/{figure.name}", abs_src_path=str(figure)))
    for name, notebook in _DRAWN.items():
        files.append(File.generated(config, f"assets/{name}", content=first_picture(notebook)))
    return files


def first_picture(notebook: str) -> bytes:
    """Return the first picture (PNG) that a notebook of analysis/ shows."""
    cells = json.loads((ROOT / "analysis" / f"{notebook}.ipynb").read_text("utf-8"))["cells"]
    shown = (output.get("data", {}) for cell in cells for output in cell.get("outputs", ()))
    return base64.b64decode(next(data["image/png"] for data in shown if "image/png" in data))


def on_page_markdown(markdown: str, **_: object) -> str:
    """Turn formulas into MathML, and put in what a page asks for in a comment."""
    markdown = _MATH.sub(lambda found: f'<div class="math">{convert(found[1], display="block")}</div>', markdown)
    markdown = _NOT_RUN.sub(r"<small>Not run by our tests: \1.</small>", markdown)
    for comment, generated in _GENERATED.items():
        if comment in markdown:
            markdown = markdown.replace(comment, generated())
    return markdown


def command_help() -> str:
    """Return what `dks-study --help` prints, as a block."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        cli.main(["--help"])
    return f"```text\n{out.getvalue()}```"


def keys_page() -> str:
    """Return the page of every key, from the docstrings of the specs and from the schema that editors use."""
    space = schemas()["space"]
    defs = space["$defs"] | {StudySpec.__name__: space}
    sections = [_section(spec, place, defs) for spec, place in _places().items()]
    return _KEYS_INTRODUCTION + "\n\n".join(sections) + "\n"


_KEYS_INTRODUCTION = """# Keys

Every key of a space or a profile, what it may hold, and its default. This page is made from the descriptions that check
a study (`dks_study/spec/`), so it is complete; the same words show in
[an editor](../guides/my-questions.md#in-an-editor).
A key is written in a section (`trial: {loss: {temperature: 2.0}}`), and dotted wherever an arm, an axis or `--set`
changes it: `--set trial.loss.temperature=2.0`, in an arm `loss.temperature: 2.0`, as an axis
`loss.temperature: {float: [1.0, 4.0]}`. *Needed*: by the whole study, be it in its space, profile or recipe.

"""


def _places() -> dict[type[Spec], str]:
    """Return each description and where it stands in a file."""
    places: dict[type[Spec], str] = {StudySpec: ""}
    for spec in all_specs(StudySpec):
        for name, field in spec.model_fields.items():
            text = str(field.annotation)
            inside = ".KEY" if "dict[" in text else "[...]" if "tuple[" in text else ""
            for inner in specs_in(field.annotation):
                places.setdefault(inner, f"{places[spec]}.{name}{inside}".lstrip("."))
    return places


def _section(spec: type[Spec], place: str, defs: Mapping[str, Schema]) -> str:
    schema, words = defs[spec.__name__], words_of(spec)
    family = _family(schema)
    title = (f"`{place}`" if place else "The study") + (f": {family}" if family else "")
    rows = []
    for name, field in spec.model_fields.items():
        key = field.alias or name
        needed = key in schema["required"] if "required" in schema else field.is_required()
        rule = f"{_values(schema['properties'][key], defs)}; {_default(field, needed)}".removesuffix("; ")
        rows.append(f"| `{key}` | {_cell(words[key])}<br><small>{_cell(rule)}</small> |")
    head = f"## {title} {{ #{_anchor(spec.__name__)} }}\n\n{prose_of(spec)}\n\n"
    return head + "| key | what |\n|---|---|\n" + "\n".join(rows)


def _family(schema: Schema) -> str:
    """Return what a backbone's `name` must be, if this is a backbone."""
    name = schema["properties"].get("name", {})
    if name.get("pattern") == EXTERNAL_NAME:
        return "a network from elsewhere"
    return str(name.get("const", ""))


def _anchor(name: str) -> str:
    return name.lower().removesuffix("spec")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<-", "&lt;-")


def _default(field: FieldInfo, needed: bool) -> str:
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    if needed:
        return "*needed*"
    if value is None or isinstance(value, Spec):
        return ""
    return f"default `{value if isinstance(value, str) else json.dumps(value)}`"


def _values(schema: Schema, defs: Mapping[str, Schema]) -> str:
    """Return in words what a schema allows."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        inner = _family(defs[name]) or "a section"
        return f"[{inner}](#{_anchor(name)})" if name.endswith("Spec") else "a section of dotted keys"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_values(each, defs) for each in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        allowed = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in allowed)
    kinds = schema.get("type", "object")
    text = " or ".join(_of_kind(kind, schema, defs) for kind in ([kinds] if isinstance(kinds, str) else kinds))
    limits = [words.format(schema[key]) for key, words in _LIMITS.items() if key in schema]
    return ", ".join([text, *limits])


def _of_kind(kind: str, schema: Schema, defs: Mapping[str, Schema]) -> str:
    if kind == "array":
        pair = "pair" if schema.get("minItems") == schema.get("maxItems") == 2 else "list"
        return f"{pair} of: {_values(schema['items'], defs)}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"section, by name: {_values(inner, defs)}" if isinstance(inner, dict) else "section"
    return _KINDS[kind]


def shipped() -> str:
    """Return every file that ships, with what it opens with."""
    return "\n".join(part for title in _ABOUT for part in _shipped(title))


def _shipped(title: str) -> Iterator[str]:
    folder, key = _ABOUT[title]
    yield f"\n## The {title} in full\n"
    for path in sorted(folder.glob("*.yaml")):
        lines = path.read_text("utf-8").splitlines()
        opening = [line for line in lines if line.startswith("#") and "yaml-language-server" not in line]
        yield f"### {path.stem}\n\n{load_document(path).values[key]}\n"
        yield "```text\n" + "\n".join(line.removeprefix("#").removeprefix(" ") for line in opening) + "\n```\n"


_GENERATED = {"<!-- the command's help -->": command_help, "<!-- every file that ships -->": shipped}
