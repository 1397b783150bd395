"""A node that does not see the results folder: refused without --storage, of use with it. Real Ray nodes."""

import secrets

import pytest
from unshared import may_unshare, two_nodes
from whole_studies import finish, records


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Address of a cluster of two nodes, and a results folder in whose place the second one has one of its own."""
    if not may_unshare():
        pytest.skip("mounts cannot be made here: no node that does not share the folder")
    # As on a cluster whose ports can be reached: who joins must show the token.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        results = tmp_path_factory.mktemp("results")
        with two_nodes(f'mount -t tmpfs none "{results}"') as address:
            yield address, results


@pytest.mark.slow
@pytest.mark.parametrize("token", ["wrong" * 8, None])
def test_who_has_no_token_cannot_join(space, cluster, tmp_path, monkeypatch, token):
    address, results = cluster
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    else:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("RAY_AUTH_TOKEN")
        monkeypatch.delenv("RAY_AUTH_MODE")
    _, _, err = finish(space, results, *SMALL, code=2, options=("--address", address))
    assert err.startswith(f"run_study: --address {address}: cannot be joined: it asks for a token: set RAY_AUTH_MODE")
    assert len(err.splitlines()) == 1


SMALL = ("search.trials=0", "report_seeds=[0, 1]", "trial.epochs=2")


@pytest.mark.slow
def test_a_node_that_does_not_see_the_results_is_refused_before_anything_trains(space, cluster):
    address, results = cluster
    folder, _, err = finish(space, results, *SMALL, code=2, options=("--address", address))
    assert len(err.splitlines()) == 1
    assert "must be a folder that every node sees; it is not there on" in err
    assert folder is None, "a refused study leaves nothing"


@pytest.mark.slow
def test_with_a_home_it_trains_like_any_other(space, cluster, tmp_path):
    address, results = cluster
    where = ("--address", address, "--storage", str(tmp_path / "home"))
    folder, out, err = finish(space, results, *SMALL, code=0, options=where)
    assert err == ""
    assert "2 trials at a time" in out
    assert [record.outcome.status for record in records(folder)] == ["complete"] * 4
    assert (tmp_path / "home" / folder.name / "table.md").read_bytes() == (folder / "table.md").read_bytes()
