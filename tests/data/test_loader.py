"""The same batches whatever the workers, ranks, accumulation and restarts; bad images; deaths."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch

from frfw.data import create_augment, create_order, make_loader, open_source
from frfw.data.dataset import Dataset
from frfw.data.decode import encode
from frfw.data.preprocessing import Preprocessing
from frfw.errors import FrfwError


def batches(dataset, name="shuffled", **options):
    options = {"global_batch": 12, "micro_batch": 12, "steps": 6, "seed": 5} | options
    order = create_order(name, dataset.labels, 5)
    return list(make_loader(dataset, order, augment=create_augment("flip"), **options))


def same(one, two):
    assert len(one) == len(two)
    for a, b in zip(one, two):
        for x, y in zip(a[:3], b[:3]):
            assert torch.equal(x, y)


@pytest.fixture
def dataset(make_records):
    return open_source(make_records([5, 7, 3, 6]))


def test_shapes_and_labels(dataset):
    first = batches(dataset)[0]
    assert first.images.shape == (12, 3, 32, 32)
    assert first.images.dtype == torch.uint8
    assert first.images.is_contiguous(memory_format=torch.channels_last)
    assert first.labels.dtype == first.indices.dtype == torch.int64
    np.testing.assert_array_equal(first.labels, dataset.labels[first.indices])
    row, image = first.images[3].permute(1, 2, 0).numpy(), dataset[int(first.indices[3])]
    assert (row == image).all() or (row == image[:, ::-1]).all()


@pytest.mark.parametrize("name", ["shuffled", "balanced"])
def test_workers_do_not_matter(dataset, name):
    plain = batches(dataset, name)
    same(plain, batches(dataset, name, workers=1))
    same(plain, batches(dataset, name, workers=4, context="fork"))


@pytest.mark.slow
def test_spawned_workers_do_not_matter(dataset):
    same(batches(dataset), batches(dataset, workers=2, context="spawn"))


@pytest.mark.parametrize("at_once", [1, 20, 1000])
def test_how_many_are_drawn_at_once_does_not_matter(dataset, monkeypatch, at_once):
    options = {"accumulate": 2, "micro_batch": 3, "world": 2, "rank": 1, "start_step": 1}
    expected = [batches(dataset, name, **options) for name in ("shuffled", "balanced")]
    monkeypatch.setattr("frfw.data.loader._DRAWN_AT_ONCE", at_once)
    for name, wanted in zip(("shuffled", "balanced"), expected):
        same(wanted, batches(dataset, name, **options))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_models_random_numbers_are_left_alone(dataset, workers):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    batches(dataset, workers=workers)
    assert torch.equal(torch.rand(3), expected)


def test_resume_in_the_middle(dataset):
    whole = batches(dataset, accumulate=2, micro_batch=6)
    same(whole[6:], batches(dataset, accumulate=2, micro_batch=6, start_step=3))
    same(whole[6:], batches(dataset, accumulate=2, micro_batch=6, start_step=3, workers=2))


def test_ranks_and_accumulation_partition_the_batch(dataset):
    whole = batches(dataset)
    parts = [batches(dataset, micro_batch=3, accumulate=2, world=2, rank=r) for r in (0, 1)]
    for step, batch in enumerate(whole):
        mine = [parts[r][2 * step + a] for a in (0, 1) for r in (0, 1)]
        assert torch.equal(torch.cat([b.indices for b in mine]), batch.indices)
        assert torch.equal(torch.cat([b.images for b in mine]), batch.images)


def test_set_smaller_than_a_batch(make_records):
    dataset = open_source(make_records([2, 1]))
    out = batches(dataset, steps=3)
    counts = np.bincount(torch.cat([b.indices for b in out]).numpy())
    assert counts.tolist() == [12, 12, 12]


def test_epochs_augment_anew(make_records):
    dataset = open_source(make_records([8, 8]))
    out = batches(dataset, steps=40, global_batch=16, micro_batch=16)
    of_first = [b.images[(b.indices == 0).nonzero()[0, 0]] for b in out]
    flipped = sum(torch.equal(i, of_first[0]) for i in of_first)
    assert 8 < flipped < 32


def test_sizes_must_fit(dataset):
    with pytest.raises(FrfwError, match="is not micro batch"):
        batches(dataset, micro_batch=5)


def test_length_and_empty_rest(dataset):
    order = create_order("shuffled", dataset.labels)
    loader = make_loader(dataset, order, global_batch=4, micro_batch=2, accumulate=2, steps=5)
    assert len(loader) == len(list(loader)) == 10
    assert batches(dataset, start_step=6) == []


def damage(root, numbers):
    for number in numbers:
        path = sorted(root.glob("*/*.jpg"))[number]
        path.write_bytes(path.read_bytes()[:100])


def test_bad_images_are_replaced_counted_and_named(make_folder, caplog):
    root = make_folder([40, 30, 30])
    damage(root, [7])
    dataset = open_source({"path": root, "size": 32})
    order = create_order("shuffled", dataset.labels, 5)
    results = []
    for workers in (0, 2):
        loader = make_loader(
            dataset, order, global_batch=20, micro_batch=20, steps=10, workers=workers
        )
        results.append(list(loader))
        assert list(loader.bad_images) == [7]
        assert "007.jpg" in loader.bad_images[7]
    same(*results)
    assert sum("bad image 7 replaced" in r.message for r in caplog.records) == 2
    seen = torch.cat([b.indices for b in results[0]])
    assert 7 not in seen
    assert (seen == 8).sum() == 4  # its neighbour of the same identity stands in, twice


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_images_stop_the_run(make_folder, workers):
    root = make_folder([30, 30])
    damage(root, [3, 4, 5])
    dataset = open_source({"path": root, "size": 32})
    with pytest.raises(FrfwError, match=r"2 bad images among .* data\.bad_limit=0\.02 .*jpg"):
        batches(dataset, global_batch=10, micro_batch=10, bad_limit=0.02, workers=workers)
    assert batches(dataset, global_batch=10, micro_batch=10, bad_limit=0.05, workers=workers)


def test_nothing_but_bad_images(make_folder):
    root = make_folder([2, 2])
    damage(root, range(4))
    with pytest.raises(FrfwError, match="bad"):
        batches(open_source({"path": root, "size": 32}))


class Trap(Dataset):
    """Misbehaves at image 9 in the way told."""

    def __init__(self, how):
        self.how, self.name, self.size = how, "trap", 8
        self.labels = np.zeros(10, np.int64)
        self.identity_names, self.preprocessing = ["a"], Preprocessing(size=8)
        self.image = encode(np.zeros((8, 8, 3), np.uint8))

    def read(self, index):
        if index == 9:
            if self.how == "raise":
                raise RuntimeError("the disk is on fire")
            if self.how == "die":
                os._exit(3)
            time.sleep(1000)
        return self.image

    def locate(self, index):
        return f"image {index}"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", r"in read[\s\S]*the disk is on fire"),
        ("die", r"exited unexpectedly|killed|died"),
        ("hang", r"no batch came for 3 s[\s\S]*in read"),
    ],
)
def test_a_failing_worker_ends_the_run_with_its_traceback(how, message):
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=message):
        batches(Trap(how), workers=2, timeout=3)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": -1}, "data.workers=-1: give a whole number from 0 on"),
        ({"workers": 1, "prefetch": 0}, "data.prefetch=0: give a whole number from 1 on"),
        ({"timeout": 0}, "data.timeout=0: give a number from 1 on"),
        ({"timeout": float("inf")}, "data.timeout=inf: give a number from 1 on"),
        ({"bad_limit": "abc"}, "data.bad_limit=abc: give a number from 0 to 1"),
        ({"bad_limit": 5}, "data.bad_limit=5: give a number from 0 to 1"),
        ({"bad_limit": True}, "data.bad_limit=True: give a number"),
    ],
)
def test_settings_that_cannot_be_are_named(dataset, options, message):
    with pytest.raises(FrfwError, match=message):
        batches(dataset, **options)
