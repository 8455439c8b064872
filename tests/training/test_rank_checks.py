import pytest
import torch
from torch import nn

from frfw.errors import FrfwError
from frfw.training import rank_checks
from frfw.training.distributed import Ranks, choose_device, join


def test_hash_changes_with_the_last_bit():
    module = nn.BatchNorm1d(3)
    before = rank_checks.weights_hash([module])
    assert before == rank_checks.weights_hash([module])
    with torch.no_grad():
        module.weight[1] = torch.nextafter(module.weight[1], torch.tensor(2.0))
    assert before != rank_checks.weights_hash([module])


def test_ranks_that_differ_are_named(monkeypatch):
    ranks = Ranks(rank=0, world=3)

    def gather(_, mine):
        return (
            [mine, mine, {**mine, "data": "other"}] if isinstance(mine, dict) else [mine, "x", mine]
        )

    monkeypatch.setattr(rank_checks, "from_all", gather)
    with pytest.raises(FrfwError, match=r"rank\(s\) 2 have another data"):
        rank_checks.same_everywhere(ranks, {}, "abc")
    with pytest.raises(FrfwError, match=r"step 7 rank\(s\) 1 have other weights"):
        rank_checks.same_weights(ranks, [nn.Linear(2, 2)], 7)


def test_a_device_that_is_none():
    with pytest.raises(FrfwError, match="not a device"):
        choose_device("gpu0")


@pytest.mark.parametrize(("gpus", "refused"), [(1, False), (2, True)])
def test_one_gpu_for_all_processes_of_a_machine(monkeypatch, gpus, refused):
    """Is refused where there are others; one alone that each sees may be its own."""
    values = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "LOCAL_RANK": 0}
    for key, value in values.items():
        monkeypatch.setenv(key, str(value))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = "all 2 processes of this machine" if refused else "no CUDA device"
    with pytest.raises(FrfwError, match=message):
        join("cuda:0", 1.0)
