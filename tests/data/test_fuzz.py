"""Damaged files: a clear error or a counted bad image, never a crash, a hang or a file elsewhere."""

from __future__ import annotations

import csv
import os
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from frfw.data import BadImage, open_source
from frfw.data import index_cache as caches
from frfw.data.decode import encode
from frfw.data.landmarks import read_landmarks
from frfw.data.layouts import read_layout
from frfw.data.pack import pack
from frfw.data.pair_sets import write_pair_list
from frfw.data.survey import survey
from frfw.data.verification_pack import read_pack
from frfw.errors import FrfwError

ROUNDS = 40
WORDS = [b"\0", b"\xff\xfe", b"NaN", b"-1", b"99999999999999999999", b",", b"\t", b"\n", b'"',
         b"../", b"[", b"null", b"\x80", b"1e400", b"=cmd()"]  # fmt: skip


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip bytes, cut, repeat or put in something that parsers trip over."""
    kind = rng.integers(5)
    at = int(rng.integers(len(data) + 1))
    if kind == 0 and data:
        changed = bytearray(data)
        for place in rng.integers(len(data), size=int(rng.integers(1, 9))):
            changed[place] = rng.integers(256)
        return bytes(changed)
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + WORDS[rng.integers(len(WORDS))] + data[at:]
    end = min(len(data), at + int(rng.integers(1, 60)))
    if kind == 3:
        return data[:at] + data[end:]
    return data[:end] + data[at:end] + data[end:]


def look_at_all(path: Path) -> None:
    """Open a source and read every image; what is bad must say so."""
    dataset = open_source({"path": path, "size": 16})
    good = 0
    for index in range(len(dataset)):
        try:
            assert dataset[index].shape == (16, 16, 3)
            good += 1
        except BadImage as error:
            assert str(error)
    found = survey(dataset, 64)
    assert len(found.bad) == len(dataset) - good


def images(folder: Path, count: int = 6) -> list[str]:
    rng = np.random.default_rng(3)
    names = []
    for number in range(count):
        name = f"p{number // 2}/{number}.jpg"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # What a photograph has: not one frequency alone.
        pixels = cv2.GaussianBlur(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8), (0, 0), 2)
        (folder / name).write_bytes(encode(pixels))
        names.append(name)
    return names


def write_csv(folder: Path) -> Path:
    with open(folder / "faces.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "identity", *(f"{a}{n}" for n in range(1, 6) for a in "xy")])
        for name in images(folder):
            rows.writerow([name, name.split("/")[0], *range(10)])
    return folder / "faces.csv"


def write_parquet(folder: Path) -> Path:
    import pandas as pd

    pd.read_csv(write_csv(folder)).to_parquet(folder / "faces.parquet")
    return folder / "faces.parquet"


def write_tar(folder: Path) -> Path:
    names = images(folder)
    with tarfile.open(folder / "shard-000.tar", "w") as tar:
        for name in names:
            label = folder / f"{name[:-4]}.cls"
            label.write_text(name[1])
            for path in (folder / name, label):
                tar.add(path, path.name)
    for name in names:
        shutil.rmtree((folder / name).parent, ignore_errors=True)
    return folder / "shard-000.tar"


def write_records(folder: Path) -> Path:
    images(folder / "in")
    pack(open_source(folder / "in"), folder / "out")
    shutil.rmtree(folder / "in")
    return folder / "out" / "train.rec"


def write_jpeg(folder: Path) -> Path:
    return folder / images(folder)[2]


SOURCES = {
    "csv": (write_csv, lambda file: file),
    "parquet": (write_parquet, lambda file: file),
    "tar": (write_tar, lambda file: file.parent),
    "records": (write_records, lambda file: file.parent),
    "index": (lambda f: write_records(f).with_suffix(".idx"), lambda file: file.parent),
    "property": (lambda f: write_records(f).with_name("property"), lambda file: file.parent),
    "manifest": (lambda f: write_records(f).with_name("manifest.json"), lambda file: file.parent),
    "jpeg": (write_jpeg, lambda file: file.parent.parent),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_damaged_sources(kind, tmp_path):
    make, opened = SOURCES[kind]
    inside = tmp_path / "set"
    inside.mkdir()
    file = make(inside)
    whole, rng = file.read_bytes(), np.random.default_rng(list(kind.encode()))
    look_at_all(opened(file))
    outcomes = set()
    for _ in range(ROUNDS):
        file.write_bytes(damaged(whole, rng))
        try:
            look_at_all(opened(file))
            outcomes.add("opened")
        except FrfwError as error:
            assert len(str(error)) > 10
            outcomes.add("refused")
    assert outcomes  # nothing else escaped
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("kind", ["csv", "records", "jpeg"])
def test_packing_damaged_sources_writes_nowhere_else(kind, tmp_path):
    make, opened = SOURCES[kind]
    inside = tmp_path / "set"
    inside.mkdir()
    file = make(inside)
    whole, rng = file.read_bytes(), np.random.default_rng([7, *kind.encode()])
    packed = 0
    for _ in range(ROUNDS // 2):
        file.write_bytes(damaged(whole, rng))
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        try:
            result = pack(open_source({"path": opened(file), "size": 16}), out)
        except FrfwError:
            assert not (out / "train.idx").exists()
            continue
        packed += 1
        assert result.images >= 1
        again = open_source(out) if result.images > 1 else None
        assert again is None or all(again[i].ndim == 3 for i in range(len(again)))
    assert packed
    assert {p.name for p in tmp_path.iterdir()} <= {"set", "out"}


def test_a_damaged_index_cache_is_made_again_or_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "MIN_IMAGES", 2)
    write_records(tmp_path)
    folder = tmp_path / "out"
    fine = open_source(folder)
    labels, name = fine.labels.tolist(), fine.cache.folder
    files = sorted(name.iterdir())
    whole, rng = {f: f.read_bytes() for f in files}, np.random.default_rng(5)
    for turn in range(ROUNDS):
        file = files[turn % len(files)]
        shutil.rmtree(name, ignore_errors=True)
        name.mkdir()
        for path, data in whole.items():
            path.write_bytes(damaged(data, rng) if path == file else data)
        try:
            dataset = open_source(folder)
            for index in range(len(dataset)):
                try:
                    dataset[index]
                except BadImage:
                    continue
        except FrfwError as error:
            assert len(str(error)) > 10
    shutil.rmtree(name)
    assert open_source(folder).labels.tolist() == labels


def test_damaged_landmark_files(tmp_path):
    whole = "".join(f"p{n}/{n}.jpg 0 {' '.join(map(str, range(10)))}\n" for n in range(6)).encode()
    file, rng = tmp_path / "marks.txt", np.random.default_rng(11)
    for _ in range(ROUNDS):
        file.write_bytes(damaged(whole, rng))
        try:
            for points in read_landmarks(file).values():
                assert points.shape == (5, 2)
                assert np.isfinite(points).all()
        except FrfwError as error:
            assert "marks.txt" in str(error)


def test_damaged_pair_lists(tmp_path):
    people = [f"Ann_{c}" for c in "ABCDEF"]
    for person in people:
        (tmp_path / "lfw" / person).mkdir(parents=True)
        for number in (1, 2):
            data = encode(np.full((16, 16, 3), 30 * number, np.uint8))
            (tmp_path / "lfw" / person / f"{person}_{number:04d}.jpg").write_bytes(data)
    lines = ["2\t1"]
    for fold in range(2):
        lines += [f"{people[fold]}\t1\t2", f"{people[fold]}\t1\t{people[fold + 2]}\t2"]
    whole, file = "\n".join(lines).encode() + b"\n", tmp_path / "pairs.txt"
    rng = np.random.default_rng(13)
    file.write_bytes(whole)
    assert len(read_layout("lfw", tmp_path / "lfw", file).pairs) == 4
    for _ in range(ROUNDS):
        file.write_bytes(damaged(whole, rng))
        try:
            pairs = read_layout("lfw", tmp_path / "lfw", file)
            write_pair_list(pairs, tmp_path / "out.bin", 16, lambda done: None)
        except FrfwError as error:
            assert len(str(error)) > 10
    assert {p.name for p in tmp_path.iterdir()} <= {"lfw", "pairs.txt", "out.bin"}


def test_damaged_verification_packs_execute_nothing(tmp_path):
    from frfw.data.verification_pack import write_pack

    encoded = [encode(np.full((16, 16, 3), v, np.uint8)) for v in range(8)]
    file, rng = tmp_path / "set.bin", np.random.default_rng(17)
    write_pack(file, encoded, [True, False, True, False])
    whole = file.read_bytes()
    payload = b"cos\nsystem\n(S'touch " + os.fsencode(tmp_path / "executed") + b"'\ntR."
    for turn in range(3 * ROUNDS):
        data = damaged(whole, rng)
        if turn % 3 == 0:
            at = int(rng.integers(len(whole)))
            data = whole[:at] + payload + whole[at:]
        file.write_bytes(data)
        try:
            assert len(read_pack(file).images) % 2 == 0
        except FrfwError as error:
            assert "set.bin" in str(error)
    file.write_bytes(payload)
    with pytest.raises(FrfwError):
        read_pack(file)
    assert not (tmp_path / "executed").exists()
