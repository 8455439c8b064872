"""Logits, loss, gradients and state of the papers' own code, in float64 to 1e-9."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from dense import dense

import frfw
from frfw.losses import create_formula

CASES = {
    "arcface": ("arcface", {}),
    "curricularface": ("curricular", {}),
    "cosface": ("cosface", {"m": 0.35}),
    "mv_am_adaptive": ("mv_am", {}),
    "mv_arc_adaptive": ("mv_arc", {}),
    "adaface": ("adaface", {}),
}
ALL = [(f"{case}_{range_}", *CASES[case]) for case in CASES for range_ in ("near", "far")]
ALL.append(("sphereface_lambda", "sphereface", {}))


@pytest.mark.parametrize(("case", "name", "params"), ALL)
def test_equals_the_papers_code(margin_reference, case, name, params):
    formula = create_formula(name, **params).double().train()
    weight = margin_reference[f"{case}/weight"].requires_grad_()
    for step in range(4):
        at = f"{case}/step{step}"
        x = margin_reference[f"{at}/x"].requires_grad_()
        logits, per_sample, cos = dense(formula, x, weight, margin_reference[f"{at}/y"])
        loss = per_sample.mean()
        grad_x, grad_w = torch.autograd.grad(loss, (x, weight))
        close(logits, margin_reference[f"{at}/logits"])
        close(loss, margin_reference[f"{at}/loss"])
        close(grad_x, margin_reference[f"{at}/grad_x"])
        close(grad_w, margin_reference[f"{at}/grad_w"])
        close(cos, margin_reference[f"{at}/cos_target"])
        for key in margin_reference.about[case]["state"]:
            close(getattr(formula, key), margin_reference[f"{at}/state_{key}"])


@pytest.mark.parametrize("mode", ["dense", "tiled"])
@pytest.mark.parametrize(("case", "name", "params"), ALL)
def test_classifier_equals_the_papers_code(margin_reference, case, name, params, mode):
    weight = margin_reference[f"{case}/weight"]
    head = frfw.create_classifier(name, weight.shape[1], len(weight), mode, **params).double()
    with torch.no_grad():
        head.weight.copy_(weight)
    for step in range(4):
        at = f"{case}/step{step}"
        x = margin_reference[f"{at}/x"].requires_grad_()
        head.zero_grad()
        out = head(x, margin_reference[f"{at}/y"])
        out.loss.backward()
        close(out.loss.detach(), margin_reference[f"{at}/loss"])
        close(x.grad, margin_reference[f"{at}/grad_x"])
        close(head.weight.grad, margin_reference[f"{at}/grad_w"])
        close(out.cos_target, margin_reference[f"{at}/cos_target"])
        for key in margin_reference.about[case]["state"]:
            close(head.state_dict()[key], margin_reference[f"{at}/state_{key}"])


def close(mine, reference):
    torch.testing.assert_close(mine, reference, rtol=0, atol=1e-9)
