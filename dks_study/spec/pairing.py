"""Who teaches whom: a pairing scheme, or a list of pairs, as a K x K weight matrix.

Classifiers are given shallow to deep; the backbone's own classifier, `main`, comes last. Entry `[t][s]` of a
pairing matrix is the weight with which classifier t teaches classifier s; the diagonal is zero.
The directions follow Sun et al., CVPR 2019 (arXiv 1906.00675): top-down means deeper teaches shallower.

With several networks (peers, a frozen teacher) a scheme pairs the classifiers inside each of them; `cross` pairs
those of different ones, as Zhang et al., CVPR 2018 (DML: no branches) and Yao and Sun, ECCV 2020 (DCM) do.
Ensembles of the network's own classifiers teach by `from_ensemble` alone, or by pairs, and are nobody's students.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

MAIN = "main"
TEACHER = "teacher"
ENSEMBLE = "ensemble"  # what the names of ensembles begin with
GATE = "ensemble.gate"  # the one that teaches all classifiers
AT_START = "@start"  # ends the names of logits of classifiers as they start, as no name of a classifier can end
Scheme = Literal["none", "top_down", "bottom_up", "dense", "adjacent", "from_main", "to_main", "cross", "from_ensemble"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
Pairing = Scheme | tuple[str, ...] | Mapping[str, float]

# (teacher position, student position, number of classifiers) -> does the pair belong to the scheme?
_RULES: Mapping[str, Callable[[int, int, int], bool]] = {
    "none": lambda t, s, k: False,
    "top_down": lambda t, s, k: t > s,
    "bottom_up": lambda t, s, k: t < s,
    "dense": lambda t, s, k: True,
    "adjacent": lambda t, s, k: abs(t - s) == 1,
    "from_main": lambda t, s, k: t == k - 1,
    "to_main": lambda t, s, k: s == k - 1,
    "cross": lambda t, s, k: False,
    "from_ensemble": lambda t, s, k: False,
}


def network_of(classifier: str) -> str:
    """Return the network that a classifier belongs to: 'teacher', 'peer2', 'ensemble', or '' for the study's own."""
    first = classifier.partition(".")[0]
    return first if first in (TEACHER, ENSEMBLE) or first.startswith("peer") else ""


def parse_pair(pair: str) -> tuple[str, str]:
    """Split 'teacher>student' into its two classifier names.

    Raises:
        ValueError: if `pair` is not two different names joined by one '>'.
    """
    names = tuple(part.strip() for part in pair.split(">"))
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise ValueError(f"a pair is written 'teacher>student', two different classifiers, got {pair!r}")
    return names[0], names[1]


def pairing_matrix(pairing: Pairing, classifiers: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Return the K x K matrix `pair[teacher][student]` of weights, zero on the diagonal.

    Args:
        pairing: a scheme's name; or a tuple of schemes and of 'teacher>student' pairs (weight 1 each); or a weight
            for each pair.
        classifiers: the K names; of each network shallow to deep, `main` last.

    Raises:
        ValueError: if a pair is malformed, repeated, teaches the frozen teacher or an ensemble, or names a classifier
            that is not there.
    """
    size = len(classifiers)
    if isinstance(pairing, Mapping):
        chosen = {_indices(pair, classifiers): weight for pair, weight in pairing.items()}
    else:
        chosen = {}
        for item in (pairing,) if isinstance(pairing, str) else pairing:
            found = _scheme_pairs(item, classifiers) if item in SCHEMES else {_indices(item, classifiers)}
            if again := found & chosen.keys():
                t, s = min(again)
                pair = f"{classifiers[t]}>{classifiers[s]}"
                raise ValueError(f"each pair is listed once, got {pair!r} twice")
            chosen |= dict.fromkeys(found, 1.0)
    return tuple(tuple(chosen.get((t, s), 0.0) for s in range(size)) for t in range(size))


def _scheme_pairs(scheme: str, classifiers: Sequence[str]) -> set[tuple[int, int]]:
    """Return (teacher, student) positions: inside each network by the scheme's rule, or across networks."""
    networks: dict[str, list[int]] = {}
    for position, name in enumerate(classifiers):
        networks.setdefault(network_of(name), []).append(position)
    ensembles = networks.pop(ENSEMBLE, [])
    if scheme == "from_ensemble":
        return {(t, s) for t in ensembles for s in networks[""] if _is_of(classifiers[t], classifiers[s])}
    if scheme == "cross":
        everyone = [(network, position) for network, members in networks.items() for position in members]
        return {(t, s) for a, t in everyone for b, s in everyone if a != b and b != TEACHER}
    belongs = _RULES[scheme]
    return {
        (members[t], members[s])
        for members in networks.values()
        for t in range(len(members))
        for s in range(len(members))
        if t != s and belongs(t, s, len(members))
    }


def _is_of(ensemble: str, student: str) -> bool:
    """Is this the ensemble that teaches `student`?"""
    return ensemble in (GATE, f"{ENSEMBLE}.{student}")


def _indices(pair: str, classifiers: Sequence[str]) -> tuple[int, int]:
    for name in (names := parse_pair(pair)):
        if name not in classifiers:
            known = ", ".join(classifiers)
            raise ValueError(f"pairs must join classifiers of this network ({known}), got {name!r} in {pair!r}")
    if names[1] == TEACHER:
        raise ValueError(f"the frozen teacher is nobody's student, got {pair!r}")
    if network_of(names[1]) == ENSEMBLE:
        raise ValueError(f"an ensemble is nobody's student, got {pair!r}")
    return classifiers.index(names[0]), classifiers.index(names[1])
