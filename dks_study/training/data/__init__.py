"""Data sets: where they come from, how they are split and thinned, and how batches of them are made.

Images are uint8 [N, C, H, W], in memory (`Split`) or decoded on the fly (`Files`), until they enter the network;
labels are int64 [N]. Validation is cut from the training images by a fixed split seed; subsets, imbalance and
augmentation touch training images alone, wrong labels those and, where asked for, validation. Shuffling, augmentation
and noise of the training labels depend on the trial's seed and on nothing else, so all arms of a study see the same
images in the same order.
"""

from dks_study.training.data.batches import batch_sizes, evaluation_batches, train_batches
from dks_study.training.data.error import DataError
from dks_study.training.data.files import Files
from dks_study.training.data.loading import load
from dks_study.training.data.noise import noisy_labels, training_labels, validation_labels
from dks_study.training.data.sets import AnySplit, DataSet, Split

__all__ = [
    "AnySplit",
    "DataError",
    "DataSet",
    "Files",
    "Split",
    "batch_sizes",
    "evaluation_batches",
    "load",
    "noisy_labels",
    "train_batches",
    "training_labels",
    "validation_labels",
]
