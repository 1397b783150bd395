"""What a loader hands over: everything but the test images in one pool, and the test images."""

from dataclasses import dataclass

from dks_study.data.sets import AnySplit


@dataclass(frozen=True)
class Source:
    """A data set before validation is cut from `pool`.

    Attributes:
        pool: what training and validation are taken from.
        test: the test images.
        classes: C; labels are 0 to C - 1.
        confusions: C classes: what an image of class i is mistaken for; () for the next class.
    """

    pool: AnySplit
    test: AnySplit
    classes: int
    confusions: tuple[int, ...] = ()
