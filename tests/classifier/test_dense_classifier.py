"""The dense classifier against the public heads' numbers, and its flat state dict."""

from __future__ import annotations

import torch

import frfw


def test_state_dict_is_flat_and_loads_back():
    head = frfw.create_classifier("curricular", 8, 6, seed=3)
    head.formula.t.fill_(0.25)
    state = head.state_dict()
    assert set(state) == {"weight", "t"}
    other = frfw.create_classifier("curricular", 8, 6, seed=4)
    other.load_state_dict(state)
    assert torch.equal(other.weight, head.weight)
    assert other.formula.t.item() == 0.25


def test_linear_head_has_a_bias_and_equals_cross_entropy():
    head = frfw.create_classifier("linear_softmax", 8, 6).double()
    x, y = torch.randn(5, 8, dtype=torch.float64), torch.tensor([0, 1, 5, 3, 3])
    with torch.no_grad():
        head.bias.uniform_(-1, 1)
    logits = x @ head.weight.T + head.bias
    expected = torch.nn.functional.cross_entropy(logits, y)
    torch.testing.assert_close(head(x, y).loss, expected)


def test_statistics_of_a_case_counted_by_hand():
    head = frfw.create_classifier("curricular", 2, 3, t=0.5, m=0.5).double()
    head.statistics = True
    centres = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(centres)
    out = head(torch.tensor([[2.0, 0.0]], dtype=torch.float64), torch.tensor([0]))
    # cos(0 + 0.5) = 0.8776: the negative at 0.8 is easy.
    assert out.hard_share.item() == 0
    assert out.modulation["mean"].item() == 1
    assert out.correct.item()
    assert out.correct_margin.item()
    out = head(torch.tensor([[2.0, 0.0]], dtype=torch.float64), torch.tensor([1]))
    # To the centre at (0.8, 0.6): the negative at 1 is hard, with dN/dcos = t + 2 cos.
    assert out.hard_share.item() == 0.5
    assert out.max_negative_cos.item() == 1
    assert out.modulation["mean"].item() == 2.5
    assert not out.correct.item()
