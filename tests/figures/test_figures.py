"""`python -m frfw.figures` draws; its curves are the formulas' own."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch

from frfw.figures import evaluate
from frfw.figures.__main__ import drawings
from frfw.losses import create_formula

QUICK = ["target", "negatives", "modulation", "boundaries", "weights", "triplets"]
QUICK += ["raised", "samples", "weightings"]


@pytest.mark.parametrize("name", QUICK)
def test_draws(name, tmp_path):
    from frfw.figures.style import close

    figure = drawings()[name](1)
    figure.savefig(tmp_path / "figure.png", dpi=100)
    assert 5_000 < (tmp_path / "figure.png").stat().st_size < 150_000
    assert all(axis.get_xlabel() or name == "triplets" for axis in figure.axes)
    close(figure)


def test_curves_are_the_formulas():
    formula = create_formula("curricular", t=0.3).double()
    above = evaluate.threshold(formula, 0.5)
    assert above.item() == pytest.approx(math.cos(math.acos(0.5) + 0.5))
    cos = torch.tensor([-0.5, 0.4], dtype=torch.float64)
    value, slope = evaluate.negatives(formula, cos, above)
    assert value.tolist() == pytest.approx([-0.5, 0.4 * 0.7])
    assert slope.tolist() == pytest.approx([1, 1.1])


def test_weight_of_a_negative_is_its_gradient():
    formula = create_formula("softmax", s=4.0).double()
    weight = evaluate.weight_of_negative(formula, 0.5, torch.tensor([0.3]).double(), others=3)
    e = [math.exp(4 * 0.5), math.exp(4 * 0.3), 3.0]
    assert weight.item() == pytest.approx(e[1] / sum(e))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "panels"), [("digits", 8), ("progress", 2)])
def test_draws_what_it_trains(name, panels, tmp_path, monkeypatch):
    from frfw.figures import digits
    from frfw.figures.style import close

    monkeypatch.setattr(digits, "STEPS", 12)
    figure = drawings()[name](1)
    figure.savefig(tmp_path / "figure.png", dpi=60)
    drawn = [axis for axis in figure.axes if axis.get_title()]
    assert len(drawn) == panels
    if name == "digits":
        points = [axis.collections[0].get_offsets() for axis in drawn]
        assert all(p.shape == (1797, 2) and p.std() > 0 for p in points)
    else:
        t = next(line for line in drawn[1].lines if line.get_label() == "t")
        assert len(t.get_xdata()) == 12
    close(figure)


def test_other_figures_are_the_formulas():
    from frfw.figures import kinds
    from frfw.figures.style import close

    figure = kinds.draw_raised(1)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    for label, at_one in (("SV-Softmax, fixed", 1.2), ("NPCFace", 1.3), ("MV-AM, m = 0.35", 1.4)):
        assert lines[label].get_ydata()[-1] == pytest.approx(at_one)
    close(figure)
    figure = kinds.draw_weightings(1)
    curves = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert curves["mean"] == pytest.approx(1)
    assert set(curves["OHEM, keep = 0.7"].round(4)) == {0, round(1 / 0.7, 4)}
    close(figure)


def run(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "frfw.figures", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def board_tags(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events.Tags()["images"]


@pytest.mark.slow
def test_command(tmp_path):
    done = run(f"out={tmp_path}/figures", "only=[triplets]")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figures" / "triplets.png").exists()
    assert board_tags(tmp_path / "figures" / "tensorboard") == ["losses/triplets"]
    assert not (tmp_path / "figures" / "digits.png").exists()
    wrong = run(f"out={tmp_path}/other", "only=[triplet]")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: there is no figure 'triplet'. Did you mean 'triplets'?")
    assert "Traceback" not in wrong.stderr
