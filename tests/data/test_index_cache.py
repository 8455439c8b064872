"""The kept index is written piece by piece, and nothing half-written is left."""

import os

import numpy as np
import pytest

from frfw.data.index_cache import ArrayFile, IndexCache
from frfw.errors import FrfwError

LABELS, NAMES = np.arange(5), np.arange(12, dtype=np.float32).reshape(4, 3)


def pieces():
    yield "labels", LABELS
    yield "names", NAMES[:1]
    yield "names", NAMES[1:1]
    yield "names", NAMES[1:]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("frfw.data.index_cache.MIN_IMAGES", 5)
    (tmp_path / "a.rec").write_bytes(b"the set")
    return IndexCache("a", (tmp_path / "a.rec",))


def check(arrays, mapped):
    assert isinstance(arrays["names"], np.memmap) == mapped
    np.testing.assert_array_equal(arrays["labels"], LABELS)
    np.testing.assert_array_equal(arrays["names"], NAMES)
    assert arrays["names"].dtype == np.float32


def test_pieces_become_mapped_arrays(cache):
    check(cache.load_or_make(pieces), mapped=True)
    check(cache.load_or_make(None), mapped=True)  # would fail if it were called


def test_what_an_older_version_kept_is_made_anew(cache, monkeypatch):
    """It had not passed the checks that this version makes."""
    monkeypatch.setattr("frfw.data.index_cache.VERSION", 1)
    cache.load_or_make(lambda: iter([("labels", LABELS[::-1].copy()), ("names", NAMES)]))
    monkeypatch.undo()
    monkeypatch.setattr("frfw.data.index_cache.MIN_IMAGES", 5)
    check(cache.load_or_make(pieces), mapped=True)


def test_a_small_index_is_not_kept(cache, monkeypatch):
    monkeypatch.setattr("frfw.data.index_cache.MIN_IMAGES", 6)
    check(cache.load_or_make(pieces), mapped=False)
    assert not cache.folder.exists()


def test_a_full_disk_costs_the_kept_index_only(cache, monkeypatch):
    def full(self, array):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ArrayFile, "append", full)
    check(cache.load_or_make(pieces), mapped=False)
    assert [path.name for path in cache.folder.parent.iterdir()] == ["a.rec"]


def test_what_making_the_index_raises_leaves_nothing_behind(cache):
    def damaged():
        yield from pieces()
        raise FrfwError("row 7 is damaged")

    with pytest.raises(FrfwError, match="row 7"):
        cache.load_or_make(damaged)
    assert [path.name for path in cache.folder.parent.iterdir()] == ["a.rec"]


def test_another_process_may_have_been_first(cache, monkeypatch):
    """It put its index there after ours was removed and before the new one came."""
    replace = os.replace

    def late(temporary, folder):
        monkeypatch.setattr("os.replace", replace)
        monkeypatch.setattr("os.getpid", lambda: -1)
        cache.load_or_make(pieces)  # the other process
        replace(temporary, folder)

    monkeypatch.setattr("os.replace", late)
    check(cache.load_or_make(pieces), mapped=True)
    assert {path.name for path in cache.folder.parent.iterdir()} == {".frfw-index-a", "a.rec"}
