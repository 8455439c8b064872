"""Tar shards: what would be lost in silence is refused or counted."""

from __future__ import annotations

import io
import os
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frfw.data import open_source
from frfw.data.decode import encode
from frfw.errors import FrfwError


def image(value: int) -> bytes:
    return encode(np.full((8, 8, 3), value, np.uint8), ".png")


def write(path, names, links=()):
    """A tar of images, and of links: (type, name, target)."""
    with tarfile.open(path, "w") as archive:
        for number, name in enumerate(names):
            member, data = tarfile.TarInfo(name), image(number)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for kind, name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    return path


NAMES = [f"p{number // 2}/{number}.png" for number in range(6)]


@pytest.fixture
def shard(tmp_path):
    return write(tmp_path / "x.tar", NAMES)


def header_of(shard, name):
    with tarfile.open(shard) as archive:
        return archive.getmember(name).offset


def test_a_damaged_header_in_the_middle(shard):
    at = header_of(shard, NAMES[3])
    data = bytearray(shard.read_bytes())
    data[at + 3] ^= 1
    shard.write_bytes(data)
    with pytest.raises(FrfwError, match=rf"x\.tar is damaged: no valid header at byte {at}"):
        open_source(shard)


def test_a_tar_cut_at_a_header(shard):
    at = header_of(shard, NAMES[3])
    shard.write_bytes(shard.read_bytes()[:at])
    with pytest.raises(FrfwError, match=rf"x\.tar is cut off: it ends at byte {at}"):
        open_source(shard)


def test_a_header_that_became_zeros(shard):
    at = header_of(shard, NAMES[3])
    data = bytearray(shard.read_bytes())
    data[at : at + 512] = bytes(512)
    shard.write_bytes(data)
    with pytest.raises(FrfwError, match=rf"data at byte \d+, behind the end .* at byte {at}:"):
        open_source(shard)


def test_two_tars_put_together(shard):
    shard.write_bytes(shard.read_bytes() * 2)
    with pytest.raises(FrfwError, match="several tars put together"):
        open_source(shard)


@pytest.mark.parametrize("blocks", [1, 2, 5000])
def test_an_end_marker_of_any_length(shard, blocks):
    with tarfile.open(shard) as archive:
        last = archive.getmembers()[-1]
    end = last.offset_data + (last.size + 511) // 512 * 512
    shard.write_bytes(shard.read_bytes()[:end] + bytes(512 * blocks))
    assert len(open_source(shard)) == 6


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_flipped_bit_and_no_cut_loses_an_image(shard, data):
    whole = shard.read_bytes()
    content = bytearray(whole)
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[data.draw(st.integers(0, len(content) // 512)) * 512 :]
    shard.write_bytes(content)
    try:
        assert len(open_source(shard)) == 6
    except FrfwError as error:
        assert "x.tar" in str(error)
    finally:
        shard.write_bytes(whole)


@pytest.mark.parametrize("kept", [False, True])
def test_links_are_counted(tmp_path, monkeypatch, kept):
    monkeypatch.setattr("frfw.data.index_cache.MIN_IMAGES", 1 if kept else 100)
    links = [
        (tarfile.LNKTYPE, "p0/hard.png", NAMES[0]),
        (tarfile.SYMTYPE, "p0/soft.png", "/etc/passwd"),
        (tarfile.SYMTYPE, "p0/latest", "p1"),
        (tarfile.SYMTYPE, "p0/._soft.png", "/etc/passwd"),
    ]
    shard = write(tmp_path / "x.tar", NAMES, links)
    for _ in range(2):  # the second time, perhaps, from the kept index
        dataset = open_source(shard)
        assert len(dataset) == 6
        assert len(dataset.notes) == 1
        assert dataset.notes[0].startswith(f"2 links in {shard}")
    assert list(open_source(write(tmp_path / "y.tar", NAMES)).notes) == []


def test_hidden_members_are_no_images(tmp_path):
    """As those of a folder are none: macOS writes a `._NAME` beside every file."""
    hidden = ["p0/._0.png", ".thumbnails/p0/0.png", "p0/.a/1.png"]
    dataset = open_source(write(tmp_path / "x.tar", [*hidden, *(f"./{name}" for name in NAMES)]))
    assert len(dataset) == 6
    assert list(dataset.identity_names) == ["p0", "p1", "p2"]


@pytest.mark.parametrize("name", ["4.png", "../4.png", "./4.png"])
def test_the_advice_for_an_image_without_identity(tmp_path, name):
    with pytest.raises(FrfwError, match=r"4\.png has no identity: put a 4\.cls with"):
        open_source(write(tmp_path / "x.tar", [name]))


def test_a_pipe_is_no_shard(tmp_path):
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(FrfwError, match="no regular file"):
        open_source(tmp_path / "x.tar")
