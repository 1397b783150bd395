"""What all workers say of a split is put together in its order."""

import pytest
import torch

from dks_study.training.predicting import Predicting, in_order


@pytest.mark.parametrize(("images", "workers"), [(7, 3), (6, 3), (2, 4), (1, 1)])
def test_shares_of_workers_are_put_back_into_order(images, workers):
    every = torch.arange(images * 2.0).view(images, 2)
    shares = [every[rank::workers] for rank in range(workers)]
    assert in_order([share for share in shares if len(share)]).tolist() == every.tolist()


@pytest.mark.slow
def test_the_first_worker_knows_what_all_have_seen(tmp_path):
    images = 7
    torch.multiprocessing.spawn(_of_workers, (tmp_path, images, 2), nprocs=2)
    names, logits, labels = torch.load(tmp_path / "found.pt", weights_only=True)
    assert names == ["main"]
    assert logits[0].tolist() == torch.arange(images * 2.0).view(images, 2).tolist()
    assert labels.tolist() == list(range(images))


def _of_workers(rank, folder, images, workers):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    every, mine = torch.arange(images * 2.0).view(images, 2), Predicting(("main",))
    mine.add({"main": every[rank::workers]}, torch.arange(images)[rank::workers])
    found = mine.read(rank, workers)
    assert (found is None) == (rank > 0)
    if found:
        torch.save([list(found.names), found.logits, found.labels], folder / "found.pt")
    torch.distributed.destroy_process_group()
