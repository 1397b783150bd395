import pytest
from hypothesis import given
from hypothesis import strategies as st

from dks_study.spec.pairing import SCHEMES, pairing_matrix, parse_pair

NAMES = ("stage1", "stage2", "stage3", "main")
sizes = st.integers(1, 6)


def pairs(pairing, size):
    """The scheme as a set of (teacher, student) positions."""
    matrix = pairing_matrix(pairing, tuple(f"c{i}" for i in range(size)))
    return {(t, s) for t, row in enumerate(matrix) for s, weight in enumerate(row) if weight}


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("none", set()),
        ("top_down", {(1, 0), (2, 0), (2, 1)}),
        ("bottom_up", {(0, 1), (0, 2), (1, 2)}),
        ("dense", {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}),
        ("adjacent", {(0, 1), (1, 0), (1, 2), (2, 1)}),
        ("from_main", {(2, 0), (2, 1)}),
        ("to_main", {(0, 2), (1, 2)}),
    ],
)
def test_the_schemes_for_three_classifiers(scheme, expected):
    assert pairs(scheme, 3) == expected


@given(sizes)
def test_the_schemes_as_sets(size):
    scheme = {name: pairs(name, size) for name in SCHEMES}
    assert scheme["top_down"] | scheme["bottom_up"] == scheme["dense"]
    assert not scheme["top_down"] & scheme["bottom_up"]
    assert {(s, t) for t, s in scheme["top_down"]} == scheme["bottom_up"]
    assert {(s, t) for t, s in scheme["from_main"]} == scheme["to_main"]
    assert scheme["from_main"] <= scheme["top_down"]
    assert scheme["to_main"] <= scheme["bottom_up"]
    assert scheme["adjacent"] <= scheme["dense"]
    assert len(scheme["dense"]) == size * (size - 1)
    assert not scheme["none"]


@given(sizes, st.sampled_from(SCHEMES))
def test_nobody_teaches_itself_and_weights_are_0_or_1(size, scheme):
    matrix = pairing_matrix(scheme, tuple(map(str, range(size))))
    assert [len(row) for row in matrix] == [size] * size
    assert all(weight in (0.0, 1.0) for row in matrix for weight in row)
    assert all(matrix[i][i] == 0 for i in range(size))


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(lambda pair: pair[0] != pair[1])))
def test_a_list_of_pairs_gives_exactly_these_pairs(chosen):
    matrix = pairing_matrix(tuple(f"{NAMES[t]}>{NAMES[s]}" for t, s in chosen), NAMES)
    assert {(t, s) for t in range(4) for s in range(4) if matrix[t][s]} == chosen


def test_spaces_around_names_do_not_matter():
    assert parse_pair(" main > stage1 ") == ("main", "stage1")


@pytest.mark.parametrize("pair", ["main", "main>", ">main", "a>b>c", "main>main", "main<stage1", ""])
def test_a_malformed_pair_is_refused_with_the_rule_and_the_value(pair):
    with pytest.raises(ValueError, match="teacher>student") as error:
        pairing_matrix((pair,), NAMES)
    assert repr(pair) in str(error.value)


def test_an_unknown_classifier_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"\(stage1, stage2, stage3, main\), got 'stage9'"):
        pairing_matrix(("main>stage9",), NAMES)


def test_a_repeated_pair_is_refused():
    with pytest.raises(ValueError, match="twice"):
        pairing_matrix(("main>stage1", "main > stage1"), NAMES)


COHORT = ("teacher", "peer1.stage1", "peer1.main", "stage1", "main")


def named(pairing, names=COHORT):
    matrix = pairing_matrix(pairing, names)
    return {(names[t], names[s]) for t, row in enumerate(matrix) for s, weight in enumerate(row) if weight}


def test_cross_pairs_join_different_networks_and_never_teach_the_teacher():
    networks = ({"teacher"}, {"peer1.stage1", "peer1.main"}, {"stage1", "main"})
    expected = {(t, s) for a in networks for b in networks[1:] if a is not b for t in a for s in b}
    assert named("cross") == expected
    assert len(expected) == 12


def test_dcm_has_18_pairs_between_two_networks_of_three_classifiers():
    names = tuple(f"{network}{tap}" for network in ("peer1.", "") for tap in ("stage1", "stage2", "main"))
    assert len(named("cross", names)) == 18


def test_other_schemes_stay_inside_each_network():
    assert named("dense") == {
        *(("peer1.stage1", "peer1.main"), ("peer1.main", "peer1.stage1")),
        *(("stage1", "main"), ("main", "stage1")),
    }
    assert named("from_main") == {("peer1.main", "peer1.stage1"), ("main", "stage1")}


def test_schemes_and_pairs_can_be_joined():
    assert named(("top_down", "teacher>main")) == {
        *(("peer1.main", "peer1.stage1"), ("main", "stage1")),
        ("teacher", "main"),
    }
    with pytest.raises(ValueError, match=r"each pair is listed once, got 'main>stage1' twice"):
        pairing_matrix(("top_down", "main>stage1"), COHORT)


def test_the_teacher_is_nobody_s_student():
    with pytest.raises(ValueError, match="the frozen teacher is nobody's student, got 'main>teacher'"):
        pairing_matrix(("main>teacher",), COHORT)
