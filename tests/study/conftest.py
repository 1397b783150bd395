"""A donor of trials, and the files of the study that takes them."""

import shutil

import pytest
from donors import train_donor

from dks_study.study.storage import Files


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A study with one finished trial, really trained."""
    return train_donor(tmp_path_factory.mktemp("trained") / "small-donor")


@pytest.fixture
def donor(trained, tmp_path):
    """A copy of it that may be spoiled."""
    return shutil.copytree(trained, tmp_path / "results" / trained.name)


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path / "results" / "small-mine", None)
