"""Who teaches whom: a pairing scheme, or a list of pairs, as a K x K weight matrix.

Classifiers are given shallow to deep; the backbone's own classifier, `main`, comes last. Entry `[t][s]` of a
pairing matrix is the weight with which classifier t teaches classifier s; the diagonal is zero.
The directions follow Sun et al., CVPR 2019 (arXiv 1906.00675): top-down means deeper teaches shallower.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

Scheme = Literal["none", "top_down", "bottom_up", "dense", "adjacent", "from_main", "to_main"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
Pairing = Scheme | tuple[str, ...] | Mapping[str, float]

# (teacher position, student position, number of classifiers) -> does the pair belong to the scheme?
_RULES: Mapping[Scheme, Callable[[int, int, int], bool]] = {
    "none": lambda t, s, k: False,
    "top_down": lambda t, s, k: t > s,
    "bottom_up": lambda t, s, k: t < s,
    "dense": lambda t, s, k: True,
    "adjacent": lambda t, s, k: abs(t - s) == 1,
    "from_main": lambda t, s, k: t == k - 1,
    "to_main": lambda t, s, k: s == k - 1,
}


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
        pairing: a scheme's name or a tuple of 'teacher>student' pairs (weight 1 each), or a weight for each pair.
        classifiers: the K names, shallow to deep, `main` last.

    Raises:
        ValueError: if a pair is malformed, repeated, or names a classifier that is not there.
    """
    size = len(classifiers)
    if isinstance(pairing, str):
        belongs = _RULES[pairing]
        chosen = {(t, s): 1.0 for t in range(size) for s in range(size) if t != s and belongs(t, s, size)}
    else:
        weights = pairing.values() if isinstance(pairing, Mapping) else [1.0] * len(pairing)
        chosen = dict(zip(_explicit_pairs(tuple(pairing), classifiers), weights, strict=True))
    return tuple(tuple(chosen.get((t, s), 0.0) for s in range(size)) for t in range(size))


def _explicit_pairs(pairs: Sequence[str], classifiers: Sequence[str]) -> list[tuple[int, int]]:
    chosen: list[tuple[int, int]] = []
    for pair in pairs:
        for name in (names := parse_pair(pair)):
            if name not in classifiers:
                known = ", ".join(classifiers)
                raise ValueError(f"pairs must join classifiers of this network ({known}), got {name!r} in {pair!r}")
        indices = (classifiers.index(names[0]), classifiers.index(names[1]))
        if indices in chosen:
            raise ValueError(f"each pair is listed once, got {pair!r} twice")
        chosen.append(indices)
    return chosen
