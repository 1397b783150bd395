"""Names that people read."""

from dks_study.study.cell import Cell


def test_the_name_of_a_trial_reads_as_a_path_of_arm_phase_and_seed():
    assert Cell("dense", "confirm", 1, 3, 2, {}).name == "dense/confirm/seed3"
    assert Cell("dense", "search", 2, 99, 1, {}).name == "dense/search/2"
    assert Cell("joint", "confirm", 0, 7, 2, {}, member=2).name == "joint#2/confirm/seed7"
