"""All kept studies in one table, and that the page beside them shows it."""

import io
from contextlib import redirect_stdout

import pytest

from dks_study.analysis.collect import backbone_name
from dks_study.analysis.kept import SHIPPED
from dks_study.analysis.report.overview import main
from dks_study.analysis.rows import table_rows
from dks_study.spec.backbone import ExternalSpec
from dks_study.spec.trial import DataSpec, RunSpec
from dks_study.study.results import load_results


@pytest.fixture(scope="module")
def printed():
    """What the command says of the kept studies."""
    with redirect_stdout(io.StringIO()) as out:
        assert main([]) == 0
    return out.getvalue()


def test_the_page_beside_the_kept_studies_is_what_the_command_prints(printed):
    assert printed in (SHIPPED / "README.md").read_text(encoding="utf-8")
    shown = [line for line in printed.splitlines() if line.startswith("|")][2:]
    studies = [load_results(path.parent) for path in SHIPPED.glob("*/trials.parquet")]
    assert len(shown) == sum(len(table_rows(results)) for results in studies)


def test_numbers_are_those_of_the_studies_own_tables(printed):
    lines = {line.split("|")[2].strip(): line for line in printed.splitlines() if line.startswith("|")}
    own = (SHIPPED / "label_noise" / "table.md").read_text(encoding="utf-8")
    for value in (part.strip() for part in lines["dks_60"].split("|")[4:6]):
        assert value.split(" ±")[0] in own


def test_a_folder_without_studies_gets_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"dks-study overview: {tmp_path}: holds no study with trials.parquet\n"
    assert main(["a", "b"]) == 2


def test_a_network_from_elsewhere_is_named_with_its_options_in_words():
    backbone = ExternalSpec(name="timm:vit_tiny", options={"depth": 4, "img_size": 8})
    run = RunSpec(backbone=backbone, data=DataSpec(name="digits"), epochs=1)
    assert backbone_name(run) == "timm:vit_tiny (depth 4, img_size 8)"
