import pickle
import shutil

import pytest
import torch
import torch.distributed.checkpoint as dcp

from frfw.errors import FrfwError
from frfw.training import checkpoint


def content(step=1):
    return {"format": checkpoint.FORMAT, "backbone": {"w": torch.full((64, 64), float(step))}}


def test_round_trip_and_alias(tmp_path):
    path = tmp_path / "step_5.pt"
    checkpoint.save(content(5), path)
    checkpoint.alias(path, "last.pt")
    assert torch.equal(
        checkpoint.load(tmp_path / "last.pt")["backbone"]["w"], content(5)["backbone"]["w"]
    )
    assert torch.load(path, weights_only=True)["format"] == checkpoint.FORMAT
    assert not list(tmp_path.glob(".*"))


def test_newest_passes_over_a_truncated_file(tmp_path):
    for step in (1, 2):
        checkpoint.save(content(step), tmp_path / f"step_{step}.pt")
    checkpoint.alias(tmp_path / "step_2.pt", "last.pt")
    data = (tmp_path / "step_2.pt").read_bytes()
    (tmp_path / "step_2.pt").write_bytes(data[: len(data) // 2])  # last.pt is the same file
    path, found, passed_over = checkpoint.newest(tmp_path)
    assert path.name == "step_1.pt"
    assert float(found["backbone"]["w"][0, 0]) == 1
    assert len(passed_over) == 2


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_newest_passes_over_damaged_shards_of_a_head(tmp_path, damage):
    for step in (1, 2):
        shards = tmp_path / f"step_{step}.head"
        dcp.save({"head.weight": torch.ones(64, 8)}, checkpoint_id=str(shards), no_dist=True)
        checkpoint.save({**content(step), "head_shards": shards.name}, tmp_path / f"step_{step}.pt")
    assert checkpoint.newest(tmp_path)[0].name == "step_2.pt"
    (piece,) = (tmp_path / "step_2.head").glob("*.distcp")
    if damage == "cut":
        piece.write_bytes(piece.read_bytes()[:-9])
    else:
        shutil.rmtree(tmp_path / "step_2.head")
    path, _, passed_over = checkpoint.newest(tmp_path)
    assert path.name == "step_1.pt"
    assert "step_2.head" in passed_over[0]


def test_a_flipped_byte_is_found(tmp_path):
    path = tmp_path / "step_1.pt"
    checkpoint.save(content(), path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(FrfwError, match=r"step_1\.pt"):
        checkpoint.load(path)


def test_nothing_in_a_file_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    (tmp_path / "step_1.pt").write_bytes(pickle.dumps(Evil()))
    torch.save({"format": 1, "evil": Evil()}, tmp_path / "step_2.pt")
    for name in ("step_1.pt", "step_2.pt"):
        with pytest.raises(FrfwError):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "owned").exists()


def test_a_failed_write_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(content(1), path)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(FrfwError, match="No space left on device"):
        checkpoint.save(content(2), path)
    monkeypatch.undo()
    assert float(checkpoint.load(path)["backbone"]["w"][0, 0]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_prune_keeps_the_newest(tmp_path):
    for step in (1, 2, 10):
        checkpoint.save(content(step), tmp_path / f"step_{step}.pt")
    (tmp_path / ".step_11.pt.tmp").touch()
    (tmp_path / ".step_11.head.tmp").mkdir()  # both of a write that was interrupted
    (tmp_path / ".step_11.head.tmp" / "__0_0.distcp").touch()
    checkpoint.prune(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_10.pt", "step_2.pt"]


def test_find_says_what_it_looked_for(tmp_path):
    with pytest.raises(FrfwError, match="does not exist"):
        checkpoint.find(tmp_path / "nowhere")
    with pytest.raises(FrfwError, match="holds no checkpoint"):
        checkpoint.find(tmp_path)
