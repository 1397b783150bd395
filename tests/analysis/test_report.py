"""The report: whole, self-contained, and never the reason why a study fails."""

import html
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from made_up import made_up, write

from dks_study.analysis.report import page as report
from dks_study.analysis.report.page import main, try_report, write_report
from dks_study.analysis.tables.costs import arm_costs, cost_grid
from dks_study.study.provenance import new_session, write_provenance
from dks_study.study.results import Results

SHELL = ("chromium", "chromium-browser", "google-chrome")


def nothing(**trial):
    """Return a study of which no trial has ended."""
    return Results(made_up(**trial).study, pd.DataFrame(), pd.DataFrame())


def test_the_report_is_one_file_with_every_part(page):
    text = (page / "report.html").read_text(encoding="utf-8")
    for heading in ("Results", "Protocol", "What happens during training", "Search", "Cost", "Provenance"):
        assert re.search(rf"<h2>\d\. {heading}</h2>", text)
    for title in ("Paired differences", "Learning curves", "How far the classifiers are apart", "Search history"):
        assert f"<b>{title}.</b>" in text
    assert "<strong>14." in text, "the best arm in bold"
    assert "Left out: nothing." in text
    assert made_up().study.content_hash() in text
    assert "Predictions" not in text, "none were kept"


def test_the_protocol_says_what_was_found_in_the_data(page, tmp_path):
    assert "Fingerprint" not in (page / "report.html").read_text(), "of a study from before there were any"
    folder, results = write(tmp_path, made_up()), made_up()
    found = {"fingerprint": "0123456789abcdef0123", "entries": 4, "found": "9 train images. No exact copies."}
    write_provenance(folder, results.study, [], new_session(0), found)
    text = "Images: 9 train images. No exact copies. Fingerprint of the data: 0123456789abcdef0123."
    assert text in write_report(results, folder).read_text()


def test_nothing_is_loaded_from_elsewhere(page):
    text = (page / "report.html").read_text(encoding="utf-8")
    assert all(source.startswith("data:") for source in re.findall(r'(?:src|href)="([^"]*)"', text))
    assert "<script" not in text
    assert "http" not in re.sub(r"data:[^\"]*", "", text)
    assert 'alt=""' not in text


def test_tables_for_latex_are_beside_it(page):
    names = {path.name for path in (page / "latex").iterdir()}
    assert names == {"results.tex", "comparisons.tex", "costs.tex", "settings.tex", "tables.tex"}
    assert r"\bfseries 14." in (page / "latex" / "results.tex").read_text()


def test_words_of_the_study_are_text_not_markup(tmp_path):
    question = "Is a < b & <script>alert(1)</script>?"
    study = made_up().study.model_copy(update={"question": question})
    text = write_report(Results(study, pd.DataFrame(), pd.DataFrame()), tmp_path).read_text(encoding="utf-8")
    assert "<script>" not in text
    assert html.escape(question, quote=False) in text


def test_a_study_without_a_result_has_a_report_that_says_so(tmp_path):
    text = write_report(nothing(), tmp_path).read_text(encoding="utf-8")
    assert "there is no answer yet" in text
    assert "Left out: arm dense: no complete confirmation trial." in text


def test_one_seed_has_a_report_without_comparisons(tmp_path):
    text = write_report(made_up(seeds=1, searches=0), tmp_path).read_text(encoding="utf-8")
    assert "Nothing was compared." in text
    assert not re.search(r"\bnan\b", re.sub(r"data:[^\"]*", "", text))


def test_published_numbers_are_shown_for_their_data_set(tmp_path):
    text = write_report(nothing(data={"name": "cifar100", "root": "somewhere"}), tmp_path).read_text(encoding="utf-8")
    assert "Published for cifar100" in text
    assert "18.72" in text


def test_a_report_that_cannot_be_written_says_why_and_raises_nothing(tmp_path, monkeypatch):
    assert try_report(nothing(), tmp_path) == f"report: {tmp_path / 'report.html'}"
    said = try_report(nothing(), tmp_path / "missing")
    assert said.startswith("report: could not be written (FileNotFoundError: ")
    monkeypatch.setattr(report, "arm_table", lambda _: 1 / 0)
    assert try_report(nothing(), tmp_path).startswith("report: could not be written (ZeroDivisionError: ")


@pytest.mark.parametrize("words", [[], ["a", "b"], ["--what"]])
def test_a_wrong_command_line_gets_the_usage(words, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("usage: dks-study report RESULTS")


def test_a_bad_folder_gets_one_line_and_status_2(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert main([str(folder)]) == 2
    (write(tmp_path, made_up()) / "trials.parquet").write_bytes(b"junk")
    assert main([str(tmp_path)]) == 2
    (tmp_path / "provenance.json").write_text("{}")
    assert main([str(tmp_path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    assert all(line.startswith("dks-study report: ") for line in errors)


def test_tables_and_report_need_neither_torch_nor_ray():
    code = (
        "import sys, dks_study.analysis.report.page;"
        " print(*sorted({'torch', 'ray', 'optuna', 'dks_study.analysis.tables.study'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["dks_study.analysis.tables.study"]


def test_costs_leave_the_first_epoch_out_and_count_gpu_hours_only_of_gpus():
    costs = arm_costs(made_up()).set_index("arm")
    assert costs["relative_time"].to_dict() == {"baseline": 1.0, "ds": 2.0, "dense": 2.0}
    assert costs["gpu_hours"].isna().all()
    assert "GPU-hours" not in cost_grid(made_up()).header
    with_gpu = arm_costs(made_up(gpus=True)).set_index("arm")
    assert with_gpu.loc["baseline", "gpu_hours"] == pytest.approx((6 * (9 + 1 + 1) + 4 * 9) / 3600)
    assert "GPU-hours" in cost_grid(made_up(gpus=True)).header


@pytest.mark.slow
@pytest.mark.parametrize("width_px", [390, 1280])
def test_a_browser_shows_the_report_without_errors_or_sideways_scrolling(page, width_px):
    browser = next(filter(None, map(shutil.which, SHELL)), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    probe = page / f"probe{width_px}.html"
    measure = (
        "<script>addEventListener('load', () => document.body.dataset.wide = document.documentElement.scrollWidth"
        " + ' ' + [...document.images].filter(i => i.complete && i.naturalWidth).length)</script>"
    )
    frame = (page / "report.html").read_text(encoding="utf-8").replace("</body>", f"{measure}</body>")
    # A frame of that width: the window of headless Chromium has a smallest width of its own.
    (page / "inner.html").write_text(frame, encoding="utf-8")
    probe.write_text(
        f'<iframe src="inner.html" style="width:{width_px}px;height:900px;border:0"></iframe>'
        "<script>addEventListener('load', () => document.body.append("
        "document.querySelector('iframe').contentDocument.body.dataset.wide))</script>"
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--enable-logging=stderr"]
    words = [browser, *flags, "--virtual-time-budget=5000", "--window-size=1400,1000", "--dump-dom", probe.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert "CONSOLE" not in done.stderr
    scroll_width, images = re.search(r"(\d+) (\d+)</body>", done.stdout).groups()
    assert int(scroll_width) <= width_px
    assert int(images) == frame.count("<img ")


@pytest.mark.slow
def test_the_latex_tables_compile(page):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=page / "latex", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
