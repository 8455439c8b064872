"""RecordIO: equal to real MXNet's files, and one clear line for every damaged one."""

from __future__ import annotations

import json
import pickle
import shutil
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frfw.data.dataset import contiguous
from frfw.data.decode import BadImage, encode
from frfw.data.manifest import state_pack
from frfw.data.recordio import RecordDataset, RecordWriter
from frfw.data.recordio_format import frame, pack_record, parse_payload, unframe
from frfw.errors import FrfwError

MAGIC = struct.pack("<I", 0xCED7230A)


def test_reads_what_mxnet_wrote(reference):
    truth = json.loads((reference / "recordio" / "truth.json").read_text())
    dataset = RecordDataset(reference / "recordio")
    assert len(dataset) == truth["images"]
    assert dataset.num_classes == truth["identities"]
    for number, (_, identity, mean_bgr) in enumerate(truth["images_index_identity_mean_bgr"]):
        assert dataset.labels[number] == identity
        mean = dataset[number].reshape(-1, 3).mean(0)[::-1]
        np.testing.assert_allclose(mean, mean_bgr, atol=0.05)


def test_writes_the_same_bytes_as_mxnet(reference, tmp_path):
    dataset = RecordDataset(reference / "recordio")
    with RecordWriter(tmp_path / "out") as writer:
        for number in range(len(dataset)):
            writer.add(dataset.read(number), int(dataset.labels[number]))
    for name in ("train.rec", "train.idx", "property"):
        theirs = (reference / "recordio" / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == theirs


def test_array_labels_png_and_gaps(tmp_path):
    """Array labels count by their first number; missing numbers are closed up."""
    images = [encode(np.full((8, 8, 3), v, np.uint8), ".png") for v in (10, 20, 30)]
    labels = [(4.0, 0.5), (7.0, 0.1), 7.0]
    with open(tmp_path / "train.rec", "wb") as rec, open(tmp_path / "train.idx", "w") as idx:
        for key, (image, label) in enumerate(zip(images, labels)):
            idx.write(f"{key}\t{rec.tell()}\n")
            rec.write(pack_record(image, key, label))
    dataset = RecordDataset(tmp_path, size=8)
    assert dataset.labels.tolist() == [0, 1, 1]
    assert dataset.identity_names == ["4", "7"]
    assert dataset[1].mean() == 20


@given(
    st.lists(st.one_of(st.binary(max_size=9), st.just(MAGIC), st.just(MAGIC[:2])), max_size=12),
    st.one_of(st.floats(0, 1e6, width=32), st.tuples(st.floats(0, 9, width=32), st.just(1.0))),
)
def test_any_payload_survives_framing(parts, label):
    """Also where it holds the magic number, which RecordIO must split at."""
    image = b"".join(parts)
    data = pack_record(image, 3, label)
    payload, used = unframe(data + b"next", "x")
    record = parse_payload(payload, "x")
    assert (record.image, used, record.id) == (image, len(data), 3)
    assert record.labels == (label if isinstance(label, tuple) else (label,))
    for at in range(0, len(data) - 8, 4):
        assert (data[at : at + 4] == MAGIC) == (at == 0) or MAGIC in image


@given(st.binary(max_size=200))
def test_unframe_never_crashes(data):
    for candidate in (data, MAGIC + data):
        try:
            payload, used = unframe(candidate, "x")
            parse_payload(payload, "x")
            assert used <= len(candidate)
        except FrfwError:
            pass


def test_split_record_counts_as_one():
    payload = b"a" * 24 + MAGIC + b"bcd" + MAGIC * 2
    assert unframe(frame(payload), "x")[0] == payload


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


@given(arrays(np.int64, st.integers(0, 9), elements=st.integers(-5, 30)))
def test_labels_are_numbered_as_they_are_sorted(labels):
    values, expected = np.unique(labels, return_inverse=True)
    renumbered, kept = contiguous(labels)
    np.testing.assert_array_equal(renumbered, expected)
    np.testing.assert_array_equal(kept, values)
    assert renumbered.dtype == np.int64


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


def test_the_manifest_counts_the_images(make_records):
    """Both files cut at the end of a record."""
    root = make_records([3, 3])
    manifest = (root / "manifest.json").read_bytes()
    _leave_images_only(root, 4)
    assert len(RecordDataset(root)) == 4
    (root / "manifest.json").write_bytes(manifest)
    with pytest.raises(FrfwError, match=r"holds 4 images, but .*manifest\.json says 6"):
        RecordDataset(root)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"identity_names": 5}, "key identity_names: it should be a list, not 5"),
        ({"identity_names": {"a": 1}}, "key identity_names: it should be a list"),
        ({"images": "6"}, 'key images: it should be a whole number, not "6"'),
        ({"images": True}, "key images: it should be a whole number, not true"),
        ({"preprocessing": [1]}, r"key preprocessing: it should be an object, not \[1\]"),
        ({"preprocessing": {"sise": 1}}, "key preprocessing: .*has no 'sise'"),
    ],
)
def test_manifest_entries_of_another_kind(make_records, entry, message):
    root = make_records([3, 3])
    (root / "manifest.json").write_text(json.dumps(entry))
    with pytest.raises(FrfwError, match=r"manifest\.json, " + message):
        RecordDataset(root)


def test_a_manifest_whose_packs_are_no_object(tmp_path):
    (tmp_path / "manifest.json").write_text('{"packs": 5}')
    with pytest.raises(FrfwError, match=r"manifest\.json, key packs: it should be an object"):
        state_pack(tmp_path / "lfw.bin", None)


def test_label_outside_the_classes(make_records):
    root = make_records([3, 3])
    (root / "property").write_text("1,32,32")
    with pytest.raises(FrfwError, match=r"label 1, but property announces 1 identities"):
        RecordDataset(root)


@pytest.mark.parametrize("label", [-1.0, 0.5, float("nan"), 1e12])
def test_label_that_is_no_class(tmp_path, label):
    image = encode(np.zeros((8, 8, 3), np.uint8))
    with open(tmp_path / "train.rec", "wb") as rec, open(tmp_path / "train.idx", "w") as idx:
        for key in (0, 1):
            idx.write(f"{key}\t{rec.tell()}\n")
            rec.write(pack_record(image, key, label))
    with pytest.raises(FrfwError, match="which is no class"):
        RecordDataset(tmp_path)


def test_fails_without_index(make_records):
    root = make_records([2])
    (root / "train.idx").unlink()
    with pytest.raises(FrfwError, match=r"train\.idx is missing"):
        RecordDataset(root)


def test_writer_leaves_nothing_half_done(tmp_path):
    with pytest.raises(RuntimeError), RecordWriter(tmp_path / "out") as writer:
        writer.add(b"x", 0)
        raise RuntimeError
    assert list((tmp_path / "out").iterdir()) == []


def test_writer_refuses(tmp_path):
    writer = RecordWriter(tmp_path / "out")
    with pytest.raises(FrfwError, match="identity by identity"):
        writer.add(b"x", 1)
    with pytest.raises(FrfwError, match="is empty"):
        writer.add(b"", 0)
    with pytest.raises(FrfwError, match="no image was added"):
        writer.close()
    with RecordWriter(tmp_path / "out") as writer:
        writer.add(b"x", 0)
    with pytest.raises(FrfwError, match="already holds"):
        RecordWriter(tmp_path / "out")


def test_pickles_small_and_reads_again(make_records):
    dataset = RecordDataset(make_records([3, 2]))
    first = dataset[4]
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[4], first)
    assert again.fingerprint == dataset.fingerprint


def test_fingerprint_tells_sets_apart(make_records):
    one, two = make_records([3, 3]), make_records([3, 2, 1], name="two")
    assert RecordDataset(one).fingerprint != RecordDataset(two).fingerprint


@settings(max_examples=60)
@given(st.data())
def test_flipped_bytes_never_crash(fuzz_records, data):
    """A damaged .rec or .idx: an error on opening, a bad image on reading, or other pixels."""
    root, originals = fuzz_records
    name = data.draw(st.sampled_from(["train.rec", "train.idx", "property"]))
    content = bytearray(originals[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    (root / name).write_bytes(bytes(content))
    try:
        dataset = RecordDataset(root)
        for number in range(len(dataset)):
            try:
                assert dataset[number].shape == (dataset.size, dataset.size, 3)
            except BadImage:
                pass
    except FrfwError:
        pass
    finally:
        (root / name).write_bytes(originals[name])


@pytest.fixture(scope="module")
def fuzz_records(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    with RecordWriter(root, (8, 8)) as writer:
        for identity in range(3):
            for value in (10, 90):
                image = np.full((8, 8, 3), value + identity, np.uint8)
                writer.add(encode(image), identity)
    return root, {p.name: p.read_bytes() for p in root.iterdir()}


def test_large_sets_keep_a_mapped_index(make_records, monkeypatch):
    """The second opening maps the checked index; a changed set is read anew."""
    root = make_records([3, 2])
    plain = RecordDataset(root)
    monkeypatch.setattr("frfw.data.index_cache.MIN_IMAGES", 1)
    first = RecordDataset(root)
    monkeypatch.setattr("frfw.data.recordio.read_index", None)  # would fail if it were called
    second = RecordDataset(root)
    for dataset in (first, second, pickle.loads(pickle.dumps(second))):
        assert isinstance(dataset.labels, np.memmap)
        assert dataset.fingerprint == plain.fingerprint
        assert dataset.identity_names == plain.identity_names
        np.testing.assert_array_equal(dataset[4], plain[4])
    assert len(pickle.dumps(second)) < 2000
    (root / "train.idx").write_text((root / "train.idx").read_text() + "\n")
    monkeypatch.undo()
    assert not isinstance(RecordDataset(root).labels, np.memmap)
