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


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would be joined")
@pytest.mark.parametrize("there", [1, 2])
def test_one_gpu_for_all_processes_of_a_machine(monkeypatch, there):
    """Is refused; one process on each of two machines may have it."""
    values = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": there, "LOCAL_RANK": 0}
    for key, value in values.items():
        monkeypatch.setenv(key, str(value))
    message = "all 2 processes of this machine" if there == 2 else "no CUDA device"
    with pytest.raises(FrfwError, match=message):
        join("cuda:0", 1.0)
