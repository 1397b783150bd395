"""The report of a study, which several files look into: it takes seconds to draw."""

import pytest
from made_up import made_up, write

from dks_study.analysis.report.page import main


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    """The folder of made-up results with their report."""
    folder = write(tmp_path_factory.mktemp("report"), made_up())
    assert main([str(folder)]) == 0
    return folder
