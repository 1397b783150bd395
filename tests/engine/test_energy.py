"""Energy as counters tell it, in files like those of Linux; nothing where there are none."""

import os
import sys
import time

import pytest

from dks_study.engine.energy import Energy, Meter, measured, processors


def counter(folder, name, microjoules, at_most=10_000_000):
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{at_most}\n")
    return folder / "energy_uj"


def test_two_processors_are_added_and_their_parts_are_not(tmp_path):
    first = counter(tmp_path / "intel-rapl:0", "package-0", 1_000_000)
    second = counter(tmp_path / "intel-rapl:1", "package-1", 9_000_000)
    part = counter(tmp_path / "intel-rapl:0:0", "core", 0)
    counter(tmp_path / "intel-rapl:2", "psys", 0)
    counter(tmp_path / "dtpm", "package-9", 0)
    with measured(tmp_path, every_s=60.0) as so_far:
        for path, now in ((first, 3_500_000), (second, 500_000), (part, 4_000_000)):
            path.write_text(str(now))
        assert so_far()["cpu"] == pytest.approx(2.5 + 1.5)  # the second one has begun again after 10 J
        first.write_text("4500000")
        assert so_far()["cpu"] == pytest.approx(5.0)


def test_it_is_looked_at_before_a_counter_comes_round_again(tmp_path):
    path = counter(tmp_path / "intel-rapl:0", "package-0", 0)
    with measured(tmp_path, every_s=0.01) as so_far:
        for now in (8_000_000, 6_000_000, 4_000_000):
            path.write_text(str(now))
            time.sleep(0.2)
        assert so_far()["cpu"] == pytest.approx(24.0)


@pytest.mark.parametrize("spoiled", ["name", "energy_uj", "max_energy_range_uj"])
@pytest.mark.parametrize("content", [None, "", "many\n"])
def test_what_cannot_be_read_is_not_measured(tmp_path, spoiled, content):
    path = counter(tmp_path / "intel-rapl:0", "package-0", 0).with_name(spoiled)
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert "cpu" not in Energy(processors(tmp_path)).look()


def test_a_machine_that_tells_nothing_measures_nothing(tmp_path):
    assert processors(tmp_path / "none") == []
    with measured(tmp_path / "none") as so_far:
        assert "cpu" not in so_far()


def test_a_counter_that_fails_later_keeps_what_it_has_told():
    told = iter([1.0, 3.0])
    energy = Energy([Meter("gpu", lambda: next(told))])
    assert [energy.look() for _ in range(3)] == [{"gpu": 2.0}] * 3


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a GPU")
def test_without_a_gpu_the_library_of_its_driver_is_asked_and_tells_nothing(tmp_path):
    import pynvml

    with pytest.raises(pynvml.NVMLError):
        pynvml.nvmlInit()
    with measured(tmp_path) as so_far:
        assert so_far() == {}
        assert sys.exc_info() == (None, None, None), "an error inside would be told as another's"


@pytest.mark.skipif(not os.path.exists("/dev/nvidia0"), reason="no GPU")
def test_a_gpu_that_computes_takes_energy(tmp_path):
    import torch

    with measured(tmp_path, every_s=60.0) as so_far:
        matrix = torch.randn(8192, 8192, device="cuda")
        for _ in range(200):
            matrix = torch.tanh(matrix @ matrix)
        torch.cuda.synchronize()
        assert so_far()["gpu"] > 1.0
