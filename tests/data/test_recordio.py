"""RecordIO: equal to real MXNet's files, and one clear line for every damaged one."""

from __future__ import annotations

import json
import pickle
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


@given(arrays(np.int64, st.integers(0, 9), elements=st.integers(-5, 30)))
def test_labels_are_numbered_as_they_are_sorted(labels):
    values, expected = np.unique(labels, return_inverse=True)
    renumbered, kept = contiguous(labels)
    np.testing.assert_array_equal(renumbered, expected)
    np.testing.assert_array_equal(kept, values)
    assert renumbered.dtype == np.int64


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
