"""The glossary: each word once, each method of the manual, each abbreviation in its prose."""

import re

import pages

TEXT = (pages.ROOT / "docs/reference/glossary.md").read_text("utf-8")
# What who runs this knows: names of formats, machines, protocols, files; and what a reader fills in.
EVERYDAY = {
    *("AMD", "API", "ASCII", "AWS", "CI", "CIFAR", "CMYK", "CPU", "CUDA", "CVPR", "EFS", "EPYC", "EXIF", "GB", "GPU"),
    *("HTML", "HTTP", "ISO", "JPEG", "JSON", "KB", "MB", "MIT", "NFS", "NVIDIA", "PGM", "PIL", "PNG", "REST", "RGB"),
    *("RGBA", "SHA", "SIGHUP", "SIGINT", "SIGTERM", "SLURM", "SSH", "TIFF", "URL", "UTC", "YAML", "LA", "PA", "LAB"),
    *(
        "CHANGELOG",
        "CLASS",
        "CLUSTER",
        "CONTRIBUTING",
        "FOLDER",
        "HOME",
        "HOST",
        "PORT",
        "README",
        "ROOT",
        "TODO",
        "WNID",
    ),
    *("VGG", "VGG-BN", "SE", "DPN"),  # families of networks, known by these names
}


def entries():
    """Return word (or several) and meaning of each row."""
    return [row for table in pages.tables_in(TEXT) for row in table[2:]]


def explained():
    return {word for word, _ in entries()} | {word for several, _ in entries() for word in several.split(", ")}


def test_each_word_stands_there_once_with_a_meaning_in_a_line_or_two():
    words = [word for word, _ in entries()]
    assert len(words) == len(set(words)) > 60
    assert [word for word, meaning in entries() if not 10 < len(meaning) < 420] == []


def test_the_words_that_mean_two_things_are_told_apart():
    meaning = dict(entries())
    assert "recipe" not in meaning
    assert "Not a training recipe" in meaning["branch recipe"]
    assert "Not a branch recipe" in meaning["training recipe"]


def prose_of(page):
    """Return the text of a page without code, addresses and comments."""
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "", text))


def test_every_abbreviation_in_the_manual_is_explained():
    known = explained() | {part for word in explained() for part in word.split("-")} | EVERYDAY
    for page in pages.PAGES:
        found = set(re.findall(r"(?<![\w-])[A-Z]{2,}(?:-[A-Z]+)?(?!\w)", prose_of(page)))
        assert sorted(found - known) == [], page


def test_every_method_of_the_presets_is_explained():
    (table,) = pages.tables_in((pages.ROOT / "docs/method/presets.md").read_text("utf-8"))
    methods = {word for row in table[2:] for word in re.findall(r"[\w-]*[A-Z]{2}[\w-]*", row[0])}
    assert {"DKS", "DHM", "CNDS", "OKDDip", "PS-KD"} <= methods <= explained()


def test_it_is_in_the_navigation_and_on_the_first_page():
    assert "Glossary: reference/glossary.md" in (pages.ROOT / "mkdocs.yml").read_text("utf-8")
    assert "(reference/glossary.md)" in (pages.ROOT / "docs/index.md").read_text("utf-8")
