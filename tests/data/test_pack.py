"""pack: what it copies, leaves out, and how an interrupted one goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from frfw.data import open_source
from frfw.data.decode import encode
from frfw.data.pack import pack
from frfw.errors import FrfwError

FILES = ("train.rec", "train.idx", "property", "manifest.json")


def test_pack_copies_the_bytes(make_folder, tmp_path):
    source = open_source({"path": make_folder([3, 1, 2]), "size": 32})
    result = pack(source, tmp_path / "out")
    packed = open_source(tmp_path / "out")
    assert (result.images, result.identities, result.bad) == (6, 3, [])
    assert [packed.read(i) for i in range(6)] == [source.read(i) for i in range(6)]
    assert packed.identity_names == list(source.identity_names)
    assert not list((tmp_path / "out").glob("*.partial"))


def test_pack_leaves_bad_images_and_their_identities_out(make_folder, tmp_path):
    root = make_folder([2, 1, 2])
    for name in ("id000/000.jpg", "id001/000.jpg"):
        (root / name).write_bytes(b"\xff\xd8\xff broken")
    result = pack(open_source(root), tmp_path / "out")
    assert (result.images, result.identities, len(result.bad)) == (3, 2, 2)
    assert open_source(tmp_path / "out").identity_names == ["id000", "id002"]


def test_pack_without_a_good_image_leaves_nothing(make_folder, tmp_path):
    root = make_folder([1, 1])
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"bad")
    with pytest.raises(FrfwError, match="no image was added"):
        pack(open_source(root), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("stop", [1, 3, 7])
@pytest.mark.parametrize("torn", [0, 5])
def test_interrupted_pack_goes_on(make_folder, tmp_path, stop, torn):
    """Also where the last bytes never reached the disk; the result is as if never interrupted."""
    source = open_source({"path": make_folder([3, 4, 2]), "size": 32})
    pack(source, tmp_path / "whole")

    def interrupt(done):
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "out", progress=interrupt)
    with pytest.raises(FrfwError, match="unfinished"):
        open_source(tmp_path / "out")
    rec = tmp_path / "out" / "train.rec.partial"
    rec.write_bytes(rec.read_bytes()[: max(0, rec.stat().st_size - torn)])
    steps = []
    pack(source, tmp_path / "out", progress=steps.append)
    assert steps[0] == (stop + 1 if not torn else stop)
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_resumed_pack_knows_what_the_first_run_left_out(make_folder, tmp_path, command):
    root = make_folder([3, 4])
    for name in ("id000/000.jpg", "id000/002.jpg", "id001/003.jpg"):
        (root / name).write_bytes(b"\xff\xd8\xff broken")
    whole = pack(open_source(root), tmp_path / "whole")

    def interrupt(done):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(open_source(root), tmp_path / "out", progress=interrupt)
    assert pack(open_source(root), tmp_path / "out") == whole
    assert [place[-13:] for place, _ in whole.bad] == [
        "id000/000.jpg",
        "id000/002.jpg",
        "id001/003.jpg",
    ]
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["left_out"] == 3


@pytest.mark.parametrize(
    ("shapes", "stated", "warning"),
    [
        ([(40, 40)] * 4, "2,40,40", ""),
        ([(48, 40)] * 4, "2,48,40", "not square: 40x48 (4)"),
        ([(40, 40), (24, 24), (40, 40), (20, 30)], "2,40,40", "3 sizes: 40x40 (2)"),
    ],
)
def test_property_states_the_size_of_the_images(tmp_path, command, shapes, stated, warning):
    """MXNet-based tools take the shape of their input from it; frfw's size stays its own."""
    for at, (height, width) in enumerate(shapes):
        path = tmp_path / "in" / f"p{at // 2}" / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(np.full((height, width, 3), 90 + at, np.uint8), ".png"))
    done = command("pack", tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "property").read_text() == stated
    assert ("warning: the images " in done.stdout) == bool(warning)
    assert warning in done.stdout
    assert open_source(tmp_path / "out").size == open_source(tmp_path / "in").size == 112


def test_pack_resizes_when_asked_and_refuses_to_overwrite(make_folder, tmp_path, command):
    root = make_folder([2, 2], size=40)
    done = command("pack", root, tmp_path / "out", "--size", "24")
    assert done.returncode == 0, done.stderr
    assert open_source(tmp_path / "out")[0].shape == (24, 24, 3)
    again = command("pack", root, tmp_path / "out")
    assert again.returncode == 1
    assert again.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "already holds a train.rec" in again.stderr


def test_a_large_pack_comes_with_its_index(make_folder, tmp_path, monkeypatch):
    from frfw.data import index_cache
    from frfw.data import pack as module

    monkeypatch.setattr(module, "MIN_IMAGES", 4)
    monkeypatch.setattr(index_cache, "MIN_IMAGES", 4)
    pack(open_source(make_folder([2, 2])), tmp_path / "out")
    monkeypatch.setattr("frfw.data.recordio.read_index", lambda *_: pytest.fail("read again"))
    opened = open_source(tmp_path / "out")
    assert isinstance(opened.labels, np.memmap)


def test_a_pack_keeps_what_is_stated_of_bin_files(make_folder, tmp_path):
    """insightface's folders hold the training set and the verification packs together."""
    stated = {"lfw.bin": {"size": 112, "alignment": {"template": "arcface"}}}
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text(json.dumps({"packs": stated}))
    pack(open_source(make_folder([2, 2])), out)
    entries = json.loads((out / "manifest.json").read_text())
    assert (entries["packs"], entries["images"]) == (stated, 4)


def test_a_damaged_manifest_in_the_way_is_said_first(make_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text("{")
    with pytest.raises(FrfwError, match=r"manifest\.json cannot be read"):
        pack(open_source(make_folder([2, 2])), out, progress=lambda _: pytest.fail("too late"))


@pytest.mark.parametrize("name", ["train.rec", "train.idx"])
def test_a_pack_replaces_no_file_of_another_set(make_folder, tmp_path, name):
    """Also one that appears while it runs."""
    source, out = open_source(make_folder([2, 2])), tmp_path / "out"

    def appear(done):
        (out / name).write_bytes(b"another's")

    for progress in (appear, lambda done: pytest.fail("too late")):
        with pytest.raises(FrfwError, match=f"already holds a {name}"):
            pack(source, out, progress=progress)
        assert (out / name).read_bytes() == b"another's"
