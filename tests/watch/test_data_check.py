"""`--check-data`: all that the data of a study hold, and exit status 2 where the study would be refused."""

import io

import pytest
from odd_pictures import cut_in_half, damaged_exif, leak, one_class, sixteen_bit, write_plain
from rich.console import Console
from whole_studies import write_study

from dks_study.cli import main
from dks_study.spec.base import printable
from dks_study.training.data.loading import read_and_split
from dks_study.watch import data_check

PROFILE = """
about: seconds
trial:
  backbone: {name: resnet, depth: 8, base_channels: 4}
  data: {name: image_folder, root: "ROOT", validation_fraction: 0.4, label_noise: 0.4, image_pixels: 16}
  optimiser: {lr: 0.05, batch_size: 8}
  epochs: 1
search: {trials: 0}
report_seeds: [0, 1]
"""


@pytest.fixture
def check(tmp_path, capsys, monkeypatch):
    """Check the data of a study whose pictures something writes; return exit status, what was printed, errors."""
    monkeypatch.setattr(data_check, "TOLD_EVERY_S", float("inf"))  # imports alone may take ten seconds

    def run(write, *overrides):
        read_and_split.cache_clear()
        write(tmp_path / "data")
        profile = PROFILE.replace("ROOT", str(tmp_path / "data")).replace("search: {trials: 0}\n", "")
        space = write_study(tmp_path / "space", profile=profile + "search: {trials: 1, seed: 9}\n")
        words = [word for each in overrides for word in ("--set", each)]
        status = main(["--space", str(space), "--results", str(tmp_path / "results"), "--check-data", *words])
        assert not (tmp_path / "results").exists(), "nothing is started"
        return status, *capsys.readouterr()

    return run


IN_MEMORY, ON_THE_FLY = "trial.data.in_memory=true", "trial.data.in_memory=false"


@pytest.mark.parametrize("how", [IN_MEMORY, ON_THE_FLY])
def test_data_without_fault(check, how):
    status, out, err = check(write_plain, how)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].split() == ["images", "train", "validation", "test"]
    assert lines[-5:-4] == ["Modes: RGB (48)"]
    assert lines[-4:-3] == ["Sizes (width x height): 16 x 16 (48)"]
    assert lines[-2:] == ["No exact copies.", "Nothing would be refused."]
    assert lines[5].split() == ["3", "classes", "14", "10", "24"]


def test_modes_and_copies_are_listed(check, tmp_path):
    _, out, _ = check(sixteen_bit)
    assert "Modes: RGB (47), I;16 (1)" in out or "Modes: I;16 (1), RGB (47)" in out
    for part in ("train", "test"):
        for name in ("cat", "dog", "owl"):
            for path in (tmp_path / "data" / part / name).iterdir():
                path.unlink()
            (tmp_path / "data" / part / name).rmdir()
    status, out, err = check(leak)
    assert (status, err) == (0, ""), "copies are said, not refused"
    assert "  train/cat/003.png = test/cat/zzz.png" in out.splitlines()


@pytest.mark.parametrize("how", [IN_MEMORY, ON_THE_FLY])
def test_all_unreadable_files_are_listed_and_one_line_says_that_it_would_be_refused(check, how):
    def write(root):
        write_plain(root)
        for i in range(3):
            cut_in_half(root / f"train/cat/00{i}.png")

    status, out, err = check(write, how)
    assert status == 2
    assert "Of no use: 3 files" in out
    assert (
        sum(line.startswith("  data.root: must hold images that can be read, got ") for line in out.splitlines()) == 3
    )
    assert len(err.splitlines()) == 1
    assert err.startswith("dks-study: data.root: must hold images that can be read, got ")
    assert err.endswith("train/cat/000.png, and 2 more are of no use\n")


def test_files_of_which_pillow_warns_are_named_and_its_words_are_not_printed(check, tmp_path):
    status, out, err = check(damaged_exif, ON_THE_FLY)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    told = lines[lines.index("To look at, though read: 1 files") + 1]
    assert told.startswith(f"  {tmp_path}/data/train/cat/photo.jpg (Tag data larger than file. Skipping tag 274; ")
    assert lines[-1] == "Nothing would be refused."


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "[red]cat[bold]", " ", "c" * 255])
def test_odd_names_of_classes_are_told_as_they_are_in_one_line(check, name):
    def write(root):
        write_plain(root)
        for part in ("train", "test"):
            (root / part / "cat").rename(root / part / name)

    status, out, err = check(write, ON_THE_FLY)
    assert (status, err) == (0, "")
    assert f"{printable(name)} (4 in train)" in out


def test_what_is_refused_at_once_is_refused_here(check):
    status, _, err = check(one_class)
    assert status == 2
    assert err.startswith("dks-study: data.root: must have two classes at least, got 'cat' alone")


def test_what_an_arm_asks_of_the_data_is_checked(check):
    status, _, err = check(write_plain, "arms.dense.data.train_images=1000")
    assert status == 2
    assert err == "dks-study: data.train_images: must be at most the 14 training images, got 1000\n"


def test_other_sets_are_looked_at_in_memory(check):
    status, out, _ = check(
        write_plain, *(f"trial.data.{word}" for word in ("name=digits", "root=null", "image_pixels=null"))
    )
    assert status == 0
    assert "Sizes (width x height): 8 x 8 (1,797)" in out


def test_many_classes_are_summed_up(tmp_path):
    from dks_study.spec.data import DataSpec
    from dks_study.training.data.examining import examine

    write_plain(tmp_path, classes=[f"class{number:02}" for number in range(25)], images=2)
    spec = DataSpec(name="image_folder", root=str(tmp_path), validation_fraction=0.5)
    text = io.StringIO()
    data_check._print(examine(spec, lambda *_: None), Console(file=text, width=200))
    lines = [line.strip() for line in text.getvalue().splitlines()]
    assert "and 5 larger classes" in lines
    assert any(line.split() == ["25", "classes", "25", "25", "50"] for line in lines)


def test_elsewhere_than_on_a_terminal_progress_is_told_in_lines(monkeypatch):
    monkeypatch.setattr(data_check, "TOLD_EVERY_S", 0)
    text = io.StringIO()
    with data_check._progress(Console(file=text)) as told:
        told(1, 2000)
    assert text.getvalue() == "decoded 1 of 2,000\n"


def test_on_a_terminal_there_is_a_bar():
    text = io.StringIO()
    with data_check._progress(Console(file=text, force_terminal=True, width=80)) as told:
        told(1000, 2000)
    assert "decoding" in text.getvalue()
    assert "50%" in text.getvalue()
