"""The report of sub-centres finds the labels that were made wrong."""

from __future__ import annotations

import pytest
import torch

from frfw.losses import subcenter_report


def test_finds_the_mislabelled(tmp_path):
    generator = torch.Generator().manual_seed(0)
    people = torch.linalg.qr(torch.randn(16, 16, generator=generator))[0][:4]
    true = torch.arange(4).repeat_interleave(20)
    embeddings = people[true] + 0.05 * torch.randn(80, 16, generator=generator)
    labels = true.clone()
    labels[[3, 25, 47]] = torch.tensor([1, 2, 3])  # three wrong labels
    weight = torch.stack([people, people.roll(1, 0)], 1).flatten(0, 1)  # the second is the noise's
    report = subcenter_report(weight, embeddings, labels, 2, block=32)
    assert report.noisy.nonzero().flatten().tolist() == [3, 25, 47]
    assert report.dominant.tolist() == [0, 0, 0, 0]
    assert report.counts.tolist() == [[19, 0], [19, 1], [19, 1], [20, 1]]
    assert report.spread[0] == 0
    assert report.spread[1:] == pytest.approx(90, abs=1e-3)
    report.write_csv(tmp_path / "noisy.csv", labels, ["a", "b", "c", "d"])
    rows = (tmp_path / "noisy.csv").read_text().splitlines()
    assert len(rows) == 4
    assert {row.split(",")[1] for row in rows[1:]} == {"b", "c", "d"}


def test_refuses_a_weight_of_another_shape():
    with pytest.raises(ValueError, match="no multiple"):
        subcenter_report(torch.zeros(5, 4), torch.zeros(1, 4), torch.zeros(1).long(), 2)
