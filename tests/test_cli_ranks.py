"""What a process learns of the others from its environment; tests/test_scripts.py has several of
them draw."""

import pytest
import torch

from ldm.runtime.distributed import Processes, own_gpu, processes


def test_alone():
    with processes() as team:
        assert (team.rank, team.size) == (0, 1)
        assert (team.share("abc"), team.agree("a"), team.collect(["a"])) == ("abc", "a", ["a"])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_each_piece_of_work_is_done_once(size):
    shares = [Processes(rank, size).share(list(range(5))) for rank in range(size)]
    assert sorted(piece for share in shares for piece in share) == list(range(5))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_an_environment_that_makes_no_sense(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ValueError, match="must be whole numbers: start with torchrun"), processes():
        pass


def test_processes_of_a_machine_take_turns_with_its_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    cuda = torch.device("cuda")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert own_gpu(cuda) == cuda
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_gpu(cuda) == torch.device("cuda:1")
    assert own_gpu(torch.device("cuda:0")) == torch.device("cuda:0")
    assert own_gpu(torch.device("cpu")) == torch.device("cpu")
