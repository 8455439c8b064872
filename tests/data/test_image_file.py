"""Files of images that are none."""

from __future__ import annotations

import os

import numpy as np
import pytest

from frfw.data import BadImage, open_source
from frfw.data.image_file import read_image_file


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["folder", "list"])
def test_a_pipe_is_a_bad_image(make_folder, kind):
    """Opening it in the usual way waits for ever for somebody who writes."""
    root = make_folder([3, 2])
    (root / "id000" / "001.jpg").unlink()
    os.mkfifo(root / "id000" / "001.jpg")
    if kind == "list":
        paths = sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))
        lines = [f"{path},{path.split('/')[0]}" for path in paths]
        (root / "list.csv").write_text("\n".join(["path,identity", *lines]))
    dataset = open_source({"path": root / "list.csv" if kind == "list" else root, "size": 32})
    with pytest.raises(BadImage, match=r"001\.jpg: it is no regular file"):
        dataset[1]
    assert dataset[0].shape == (32, 32, 3)


def test_devices_folders_and_missing_files(tmp_path):
    for path, why in (
        ("/dev/zero", "it is no regular file"),
        (tmp_path, "it is no regular file|Is a directory"),
        (tmp_path / "none.jpg", "No such file"),
        ("a\0b.jpg", "null byte"),
    ):
        with pytest.raises(BadImage, match=why):
            read_image_file(path)


def test_every_byte_of_a_large_file(tmp_path):
    data = np.random.default_rng(0).bytes(3_000_001)
    (tmp_path / "x.png").write_bytes(data)
    assert read_image_file(tmp_path / "x.png") == data
    (tmp_path / "x.png").write_bytes(b"")
    assert read_image_file(tmp_path / "x.png") == b""
