"""A lost trial that is tried again by the command."""

import pytest
from faulty import group_of, trapped_study
from whole_studies import finish, records

RULE = "The last try counts; no trial with a result is tried again."


@pytest.mark.slow
def test_a_trial_that_failed_ends_as_if_it_had_not_and_the_table_says_so(tmp_path, calm):
    space, _ = trapped_study(tmp_path, "fail", at=20)
    sets = ("max_failures=0", *group_of(0))
    folder, out, _ = finish(space, tmp_path / "results", *sets, code=1)
    (failed,) = [record.cell.id for record in records(folder) if record.outcome.lost]
    assert f"Left out: {failed} failed" in out
    _, _, err = finish(space, tmp_path / "results", *sets, code=2, options=("--retry", "trapped"))
    assert "--retry: must be" in err
    _, out, _ = finish(space, tmp_path / "results", *sets, options=("--retry", "failed"))
    assert f"Tried again: {failed}." in out
    assert f"Tried again, having been lost: {failed}. {RULE}" in out
    assert {record.cell.id: record.tries for record in records(folder)}[failed] == 2
    rows = [line for line in out.splitlines() if line.startswith("| trapped")]
    assert rows == [line for line in (calm(0) / "table.md").read_text().splitlines() if line.startswith("| trapped")]
    assert finish(space, tmp_path / "results", *sets)[1].count(RULE) == 1  # and says so from there on
