"""An .idx is checked against its .rec: nothing is lost in silence, whatever it lacks."""

from __future__ import annotations

import shutil
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frfw.data.recordio import RecordDataset
from frfw.data.recordio_format import pack_record
from frfw.errors import FrfwError

MAGIC = struct.pack("<I", 0xCED7230A)


def test_truncated_rec(make_records):
    root = make_records([3, 3])
    rec = root / "train.rec"
    whole = rec.read_bytes()
    for cut in (1, 20, 41, len(whole) // 2, len(whole) - 3):
        rec.write_bytes(whole[:-cut])
        with pytest.raises(FrfwError, match=r"train\.rec is truncated"):
            RecordDataset(root)


def test_wrong_index(make_records, tmp_path):
    root, other = make_records([3, 3]), make_records([2, 4, 1], size=40, name="other")
    shutil.copy(other / "train.idx", root / "train.idx")
    with pytest.raises(FrfwError, match=r"train\.idx"):
        RecordDataset(root)


@pytest.mark.parametrize(
    "text",
    ["", "1\t0\nx\ty\n", "1\t0\n1\t40\n", "1\t0\n2\t0\n", "1\t-4\n", "1\t2\n", "1\n2\n", "9\t0\n"],
)
def test_broken_index(make_records, text):
    root = make_records([3, 3])
    (root / "train.idx").write_text(text)
    with pytest.raises(FrfwError):
        RecordDataset(root)


def test_index_in_any_order(make_records):
    """Neither the keys nor the places of the records need to ascend."""
    root = make_records([3, 3])
    expected = RecordDataset(root)
    lines = (root / "train.idx").read_text().splitlines()
    (root / "train.idx").write_text("\r\n".join(reversed(lines)))
    shuffled = RecordDataset(root)
    assert shuffled.fingerprint == expected.fingerprint
    np.testing.assert_array_equal(shuffled[4], expected[4])
    keys = [line.split("\t")[0] for line in lines]
    images = [
        str(key) for key in expected.arrays["keys"]
    ]  # images change their keys, so that places descend as keys ascend
    swapped = dict(zip(images, reversed(images)))
    text = [f"{swapped.get(k, k)}\t{line.split()[1]}" for k, line in zip(keys, lines)]
    (root / "train.idx").write_text("\n".join(text) + "\n")
    backwards = RecordDataset(root)
    assert backwards.labels.tolist() == expected.labels.tolist()[::-1]
    np.testing.assert_array_equal(backwards[1], expected[4])


@pytest.mark.parametrize("order", ["ascending", "descending", "mixed"])
def test_index_read_in_many_chunks(make_records, monkeypatch, order):
    root = make_records([3, 4, 2])
    expected = RecordDataset(root)
    places = [line.split("\t")[1] for line in (root / "train.idx").read_text().splitlines()]
    images, others = places[: len(expected)], places[len(expected) :]
    if order == "descending":
        images = images[::-1]
    elif order == "mixed":
        images = images[::2] + images[1::2]
    keys = [*range(1, len(places)), 0]
    rows = [f"{key}\t{place}" for key, place in zip(keys, images + others)]
    (root / "train.idx").write_text("\n".join(rows))
    whole = RecordDataset(root)
    monkeypatch.setattr("frfw.data.record_index._CHUNK", 2)
    chunked = RecordDataset(root)
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(chunked.arrays[name], array)
    assert sorted(chunked.labels.tolist()) == sorted(expected.labels.tolist())
    np.testing.assert_array_equal(chunked.read(0), whole.read(0))


@pytest.mark.parametrize("step", [4, 8, 12, 28])
def test_index_of_places_where_no_record_is(make_records, monkeypatch, step):
    """The part of the file that is mapped for a chunk holds its last header, wherever it ends."""
    monkeypatch.setattr("frfw.data.record_index._CHUNK", 2)
    root = make_records([3, 3])
    places = [int(line.split("\t")[1]) for line in (root / "train.idx").read_text().splitlines()]
    rows = [f"{key}\t{at}" for key, at in enumerate([*places[:2], places[1] + step])]
    (root / "train.idx").write_text("\n".join(rows))
    with pytest.raises(FrfwError, match=r"train\.idx does not fit train\.rec: record 1 runs into"):
        RecordDataset(root)


@pytest.mark.parametrize("headed", [True, False])
@pytest.mark.parametrize("gone", [slice(0, 1), slice(2, 4), slice(5, 6), slice(5, None)])
def test_incomplete_index_is_noticed(make_records, headed, gone):
    """Also without the header record, which frfw writes last and others leave out."""
    root = make_records([3, 3])
    if not headed:
        _leave_images_only(root, 6)
    lines = (root / "train.idx").read_text().splitlines(keepends=True)
    del lines[gone]
    (root / "train.idx").write_text("".join(lines))
    with pytest.raises(FrfwError, match=r"idx is incomplete: it has no record for the bytes \d+"):
        RecordDataset(root)


def _leave_images_only(root, images):
    lines = (root / "train.idx").read_text().splitlines(keepends=True)
    end = int(lines[images].split("\t")[1])
    (root / "train.idx").write_text("".join(lines[:images]))
    (root / "train.rec").write_bytes((root / "train.rec").read_bytes()[:end])
    (root / "property").unlink()
    (root / "manifest.json").unlink()


@settings(max_examples=40)
@given(st.data())
def test_no_lost_line_loses_an_image_in_silence(fuzz_records, data):
    root, originals = fuzz_records
    lines = originals["train.idx"].splitlines(keepends=True)
    kept = data.draw(st.lists(st.sampled_from(range(len(lines))), min_size=1, unique=True))
    (root / "train.idx").write_bytes(b"".join(lines[at] for at in kept))
    try:
        assert len(RecordDataset(root)) == 6
        assert len(kept) == len(lines)
    except FrfwError as error:
        assert "train.idx" in str(error)
    finally:
        (root / "train.idx").write_bytes(originals["train.idx"])


@pytest.mark.parametrize("place", ["middle", "last"])
def test_records_in_parts_and_what_follows_them(tmp_path, place):
    """An image that holds the magic number at its boundaries is written in parts."""
    images = [b"\xff\xd8" + bytes([65 + at]) * 30 + MAGIC * at for at in range(4)]
    if place == "middle":
        images.append(b"\xff\xd8" + b"x" * 30)
    at, lines, content = 0, [], b""
    for key, image in enumerate(images):
        lines.append(f"{key}\t{at}\n")
        content += pack_record(image, key, 0.0)
        at = len(content)
    (tmp_path / "train.rec").write_bytes(content)
    (tmp_path / "train.idx").write_text("".join(lines))
    dataset = RecordDataset(tmp_path)
    assert [dataset.read(at) for at in range(len(images))] == images
    del lines[3]  # what follows record 2, itself in parts
    (tmp_path / "train.idx").write_text("".join(lines))
    with pytest.raises(FrfwError, match="is incomplete"):
        RecordDataset(tmp_path)


def test_a_record_that_says_more_labels_than_it_has_room_for(make_records):
    """It was taken for a record without an image, which the set then lacked."""
    root = make_records([3, 3])
    _leave_images_only(root, 6)
    start = int((root / "train.idx").read_text().splitlines()[2].split("\t")[1])
    content = bytearray((root / "train.rec").read_bytes())
    content[start + 10] ^= 1
    (root / "train.rec").write_bytes(content)
    with pytest.raises(FrfwError, match="record 3 says 65536 labels and is too short"):
        RecordDataset(root)


def test_fails_without_index(make_records):
    root = make_records([2])
    (root / "train.idx").unlink()
    with pytest.raises(FrfwError, match=r"train\.idx is missing"):
        RecordDataset(root)


def test_the_manifest_counts_the_images(make_records):
    """Both files cut at the end of a record."""
    root = make_records([3, 3])
    manifest = (root / "manifest.json").read_bytes()
    _leave_images_only(root, 4)
    assert len(RecordDataset(root)) == 4
    (root / "manifest.json").write_bytes(manifest)
    with pytest.raises(FrfwError, match=r"holds 4 images, but .*manifest\.json says 6"):
        RecordDataset(root)
