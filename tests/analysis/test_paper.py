"""Published numbers: complete, well formed, none without a source."""

import pytest

from dks_study.analysis.paper import COLUMNS, TRUST, load_paper, published

COUNTS = {"A": 43, "N": 37, "A-fig": 30, "R": 19, "S": 22, "A-calc": 28}
CIFAR = {
    ("WRN-28-10", "baseline"): (18.72, 0.24),
    ("WRN-28-10", "DKS"): (17.24, 0.22),
    ("WRN-28-10 + dropout", "baseline"): (18.64, 0.19),
    ("WRN-28-10 + dropout", "DKS"): (16.71, 0.17),
}
IMAGENET = {
    ("ResNet-18", "baseline"): (31.06, 11.13),
    ("ResNet-18", "DKS"): (28.68, 9.55),
    ("ResNet-50", "baseline"): (25.47, 7.58),
    ("ResNet-50", "DKS"): (23.53, 6.40),
    ("ResNet-152", "baseline"): (22.45, 5.94),
    ("ResNet-152", "DKS"): (20.98, 5.28),
}


def test_every_row_is_whole():
    frame = load_paper()
    assert tuple(frame.columns) == COLUMNS
    assert not frame[["network", "dataset", "method", "metric", "source"]].eq("").any().any()
    assert set(frame["trust"]) == set(TRUST)
    assert frame["value"].notna().all()
    assert not frame.duplicated(["network", "dataset", "method", "metric", "source"]).any()
    assert set(frame["dataset"]) == {"cifar100", "imagenet"}


def test_the_numbers_of_the_authors_repository_are_all_there():
    own = load_paper().query("trust == 'A' and source == 'sundw2014/DKS README'")
    rows = own.set_index(["network", "method", "metric"])
    for (network, method), (mean, std) in CIFAR.items():
        row = rows.loc[(network, method, "test top-1 error (%)")]
        assert (row["value"], row["std"], row["runs"]) == (mean, std, 5)
    for (network, method), errors in IMAGENET.items():
        found = [rows.loc[(network, method, f"validation top-{k} error (%)"), "value"] for k in (1, 5)]
        assert tuple(found) == errors
    assert len(own) == 4 + 15


def test_every_kind_of_source_has_its_rows():
    counts = load_paper()["trust"].value_counts().to_dict()
    assert counts == COUNTS, "add a row here and in the file, or in neither"


def test_gains_are_the_differences_of_the_rows():
    rows = load_paper().set_index(["network", "method", "metric"])["value"]
    for network in ("ResNet-18", "ResNet-50", "ResNet-152"):
        gain = rows[network, "DKS", "gain over baseline in top-1 error (points)"]
        top1 = "validation top-1 error (%)"
        assert gain == pytest.approx(rows[network, "baseline", top1] - rows[network, "DKS", top1])


def test_published_rows_are_those_of_a_data_set():
    assert set(published("cifar100")["dataset"]) == {"cifar100"}
    assert not published("cifar100")["metric"].str.contains("parameters|MACs").any()
    assert len(published("digits")) == 0


@pytest.mark.parametrize("row", ["n,d,m,e,1.0,,,,A", "n,d,m,e,1.0,,,s,M", "n,d,m,e,,,,s,A"])
def test_a_number_without_source_trust_or_value_is_refused(tmp_path, row):
    (tmp_path / "p.csv").write_text(",".join(COLUMNS) + "\nn,d,m,e,1.0,,,s,A\n" + row + "\n")
    with pytest.raises(ValueError, match="row 2 lacks"):
        load_paper(tmp_path / "p.csv")
