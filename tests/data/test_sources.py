"""Folders, selections and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from frfw.data import BadImage, decode, open_source
from frfw.data.alignment import Alignment
from frfw.data.decode import encode
from frfw.data.preprocessing import Preprocessing
from frfw.data.strings import StringColumn
from frfw.errors import FrfwError


def test_folder(make_folder):
    dataset = open_source(make_folder([3, 1, 2]))
    assert dataset.labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert dataset.labels.dtype == np.int64
    assert list(dataset.identity_names) == ["id000", "id001", "id002"]
    assert dataset[5].shape == (112, 112, 3)
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[5], dataset[5])
    assert again.fingerprint == dataset.fingerprint


def test_folder_fingerprint_is_the_same_elsewhere(make_folder):
    one, two, other = make_folder([2, 2]), make_folder([2, 2], name="b"), make_folder([4], name="c")
    prints = [open_source(path).fingerprint for path in (one, two, other)]
    assert prints[0] == prints[1] != prints[2]


def test_nested_and_hidden_and_linked(make_folder):
    root = make_folder([2, 2])
    image = (root / "id000" / "000.jpg").read_bytes()
    for place in ("id000/profile/x.jpg", ".hidden/y.jpg", "id001/.z.jpg", "id001/notes.txt"):
        (root / place).parent.mkdir(exist_ok=True)
        (root / place).write_bytes(image)
    (root / "id001" / "loop").symlink_to(root / "id001")
    (root / "empty").mkdir()
    dataset = open_source(root)
    assert [dataset.path(i) for i in range(len(dataset))] == [
        "id000/000.jpg",
        "id000/001.jpg",
        "id000/profile/x.jpg",
        "id001/000.jpg",
        "id001/001.jpg",
    ]


@pytest.mark.parametrize(("counts", "what"), [([], "no image"), ([1], "one image")])
def test_too_few_images(make_folder, tmp_path, counts, what):
    root = make_folder(counts)
    root.mkdir(exist_ok=True)
    with pytest.raises(FrfwError, match=what):
        open_source(root)


def test_missing_or_no_data_set(tmp_path):
    with pytest.raises(FrfwError, match="does not exist"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "x.xyz").write_text("hello")
    with pytest.raises(FrfwError, match="is no data set"):
        open_source(tmp_path / "x.xyz")
    with pytest.raises(FrfwError, match=r"data\.path is not set"):
        open_source({"path": None})
    with pytest.raises(FrfwError, match=r"Did you mean 'exclude'"):
        open_source({"path": str(tmp_path), "exlude": "x"})


def test_keep_and_exclude(make_folder, tmp_path):
    root = make_folder([2] * 6)
    for number in range(6):
        (root / f"id{number:03d}").rename(root / f"{number:03d}")
    listed = tmp_path / "out.txt"
    listed.write_text("001  # in the test set\n\nunknown\n004\n")
    dataset = open_source({"path": root, "exclude": [str(listed), "5..9"]})
    assert list(dataset.identity_names) == ["000", "002", "003"]
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert "003" in dataset.locate(5)
    kept = open_source({"path": root, "keep": "1..3", "exclude": "002"})
    assert list(kept.identity_names) == ["001", "003"]
    assert kept.fingerprint != dataset.fingerprint
    with pytest.raises(FrfwError, match="neither an identity"):
        open_source({"path": root, "exclude": "0013"})
    with pytest.raises(FrfwError, match="leave 0 images"):
        open_source({"path": root, "exclude": "0..99"})


def test_corrupt_images_are_bad_images(make_folder):
    root = make_folder([3])
    files = sorted((root / "id000").iterdir())
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[: len(whole) // 2])
    files[1].write_bytes(b"")
    files[2].write_bytes(b"GIF89a nonsense")
    dataset = open_source(root)
    for number, reason in enumerate(["cut off", "empty", "cannot be decoded"]):
        with pytest.raises(BadImage, match=reason):
            dataset[number]
    files[0].unlink()
    with pytest.raises(BadImage, match="No such file"):
        dataset[0]


def test_decode_gives_rgb_and_resizes():
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 0] = 200
    pixels = decode(encode(image, ".png"), 10)
    assert pixels.shape == (10, 10, 3)
    assert pixels.reshape(-1, 3).mean(0).tolist() == [200, 0, 0]


def test_grey_image_becomes_three_channels():
    import cv2

    data = cv2.imencode(".png", np.full((8, 8), 70, np.uint8))[1].tobytes()
    assert decode(data).shape == (8, 8, 3)


def test_strings_survive():
    texts = ["", "a", "ü/ж", "caf\udce9"]
    column = StringColumn.of(texts)
    assert list(column) == texts
    assert column[-1] == texts[-1]
    with pytest.raises(IndexError):
        column[4]


def test_preprocessing_record():
    one = Preprocessing(alignment={"template": "arcface"})
    assert Preprocessing.from_dict(one.to_dict()).hash == one.hash != Preprocessing().hash
    assert one.differences(Preprocessing()) == []  # nothing stated, nothing to warn of
    assert len(one.differences(Preprocessing(size=96, alignment={"template": "other"}))) == 2


def test_alignments_disagree_by_what_they_say():
    one = Preprocessing(alignment=Alignment(landmarks="yunet").to_dict())
    half = Preprocessing(56, alignment=Alignment(size=56, landmarks="yunet").to_dict())
    edge = Preprocessing(alignment=Alignment(landmarks="file", border="edge").to_dict())
    assert one.alignment_differences(half) == []  # the template scales with the size
    assert one.alignment_differences(edge) == [
        "alignment.border: black against edge",
        "alignment.landmarks: yunet against file",
    ]
    assert one.alignment_differences(Preprocessing()) == []
    with pytest.raises(FrfwError, match="Did you mean 'mean'"):
        Preprocessing.from_dict({"meen": 3})
    with pytest.raises(FrfwError, match="rgb or bgr"):
        Preprocessing(channels="hsv")


@pytest.mark.parametrize("entry", [{"exclude": "b.txt"}, "", {"path": None}])
def test_a_source_without_a_path_is_named(make_folder, entry):
    with pytest.raises(FrfwError, match=r"data.sources\[1\] has no path: give its folder or file"):
        open_source({"sources": [str(make_folder([2, 2])), entry]})
