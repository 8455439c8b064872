"""Damage to what frfw itself keeps between runs, and to what `pack` is given."""

from __future__ import annotations

import numpy as np
import pytest

from frfw.data import open_source
from frfw.data.pack import pack
from frfw.errors import FrfwError


def flip(path, rng, count=3):
    data = bytearray(path.read_bytes())
    for at in rng.integers(0, len(data), count):
        data[at] ^= 1 << int(rng.integers(0, 8))
    path.write_bytes(bytes(data))


def everything(root):
    return {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_pack_of_damaged_images(make_folder, tmp_path, suffix):
    """Each is written or named, the pack is whole, and the source stays as it was."""
    rng = np.random.default_rng(0)
    root = make_folder([8, 8, 8], suffix=suffix)
    for path in sorted(root.rglob(f"*{suffix}"))[::2]:
        flip(path, rng)
    before = everything(root)
    result = pack(open_source(root), tmp_path / "out")
    packed = open_source({"path": tmp_path / "out", "size": 32})
    assert result.images + len(result.bad) == 24
    assert result.images == len(packed) == len([packed[i] for i in range(len(packed))])
    assert everything(root) == before
    assert {p.name for p in tmp_path.iterdir()} == {"faces", "out"}


@pytest.mark.parametrize("seed", range(12))
def test_pack_of_damaged_records(make_records, tmp_path, seed):
    """What the reader lets through is packed whole; a broken index is an error before any file."""
    rng = np.random.default_rng(seed)
    root = make_records([4, 4, 4])
    flip(root / "train.rec", rng, 6)
    try:
        result = pack(open_source(root), tmp_path / "out")
    except FrfwError:
        assert not (tmp_path / "out" / "train.rec").exists()
    else:
        packed = open_source(tmp_path / "out")
        assert result.images == len(packed) == len([packed[i] for i in range(len(packed))])


@pytest.mark.parametrize("seed", range(12))
def test_pack_goes_on_in_spite_of_a_damaged_journal(make_folder, tmp_path, seed):
    """From the last entry before the damage; the result is as if never interrupted."""
    rng = np.random.default_rng(seed)
    root = make_folder([4, 4])
    (root / "id000" / "001.jpg").write_bytes(b"bad")
    source = open_source(root)
    whole = pack(source, tmp_path / "whole")

    def interrupt(done):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "out", progress=interrupt)
    flip(tmp_path / "out" / "pack.journal.partial", rng, 1)
    assert pack(source, tmp_path / "out") == whole
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")


def index_damage(path, rng):
    kind = rng.integers(0, 4)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        path.write_bytes(path.read_bytes()[: int(rng.integers(0, path.stat().st_size))])
    else:
        flip(path, rng, int(kind) - 1)


@pytest.mark.parametrize("kind", ["records", "list", "tar"])
def test_a_damaged_index_is_made_anew(make_folder, make_records, tmp_path, monkeypatch, kind):
    """Never believed: labels and places of images come out of it."""
    import tarfile

    monkeypatch.setattr("frfw.data.index_cache.MIN_IMAGES", 1)
    faces = make_folder([3, 3])
    if kind == "records":
        path = make_records([3, 3])
    elif kind == "list":
        path = tmp_path / "list.csv"
        rows = [f"{p.relative_to(tmp_path)},{p.parent.name}" for p in sorted(faces.rglob("*.jpg"))]
        path.write_text("\n".join(["path,identity", *rows]) + "\n")
    else:
        path = tmp_path / "s.tar"
        with tarfile.open(path, "w") as archive:
            archive.add(faces, "faces")

    def look():
        dataset = open_source(path)
        return [dataset.read(i) for i in range(6)], dataset.labels.tolist(), dataset.fingerprint

    truth = look()
    kept = sorted(next(tmp_path.rglob(".frfw-index-*")).iterdir())
    assert len(kept) > 3
    rng = np.random.default_rng(0)
    for turn in range(5 * len(kept)):
        index_damage(kept[turn % len(kept)], rng)
        assert look() == truth
        assert all(file.exists() for file in kept)  # written again
