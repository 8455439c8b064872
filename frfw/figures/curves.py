"""T, N, the modulation I and the decision boundaries."""

from __future__ import annotations

from typing import Any

import torch

from frfw.figures.evaluate import EARLY, LATE, drawn_losses, negatives, target, threshold
from frfw.figures.style import COLORS, panels
from frfw.losses import create_formula

DASH = {"ArcFace": "-", "MV-Arc-Softmax": "--", "CurricularFace": "-"}


def draw_target(seed: int) -> Any:
    """T against the angle to the own centre; and what each rule does beyond θ + m = π."""
    figure, (left, right) = panels(2, width=5.2)
    degrees = torch.linspace(0, 180, 721, dtype=torch.float64)
    cos = torch.cos(torch.deg2rad(degrees))
    shown = {
        "Softmax": ("softmax", {}),
        "SphereFace": ("sphereface", {"annealing": False}),
        "CosFace": ("cosface", {"m": 0.35}),
        "ArcFace": ("arcface", {"m": 0.5}),
    }
    labels = {
        "Softmax": "softmax: cos θ",
        "SphereFace": "SphereFace, m = 4",
        "CosFace": "CosFace, m = 0.35",
        "ArcFace": "ArcFace, m = 0.5",
    }
    for name, (loss, params) in shown.items():
        formula = create_formula(loss, **params).double().eval()
        left.plot(degrees, target(formula, cos), color=COLORS[name], label=labels[name])
    for norm, style in ((10.0, ":"), (110.0, "--")):
        mag = create_formula("magface", easy_margin="none").double().eval()
        label = f"MagFace, norm {norm:.0f}"
        left.plot(degrees, target(mag, cos, norm), style, color="#9467bd", label=label)
    left.set(xlabel="angle to the own centre, degrees", ylabel="T", title="Target T")
    left.set(ylim=(-3, 1.1), xticks=range(0, 181, 30))
    left.legend(fontsize=8.5)
    styles = {"none": ":", "linear": "-", "saturate": "--", "cosine": "-."}
    for rule, style in styles.items():
        formula = create_formula("arcface", beyond_pi=rule).double().eval()
        right.plot(degrees, target(formula, cos), style, label=f"beyond_pi: {rule}")
    edge = 180 - 0.5 * 180 / torch.pi
    right.axvline(edge, color="k", lw=0.8, alpha=0.5)
    right.annotate("θ + m = π ", (edge, -0.42), ha="right", fontsize=9)
    right.set(xlabel="angle to the own centre, degrees", ylabel="T", xlim=(125, 180))
    right.set(ylim=(-1.35, -0.35), title="ArcFace beyond π, m = 0.5")
    right.legend(fontsize=8.5, loc="lower left")
    return figure


def draw_negatives(seed: int) -> Any:
    """N against the cosine to another centre, early and late in training."""
    figure, axes = panels(2, sharey=True)
    cos = torch.linspace(-0.5, 1, 1501, dtype=torch.float64)
    for axis, (title, stage) in zip(axes, (("Early", EARLY), ("Late", LATE))):
        for name, formula in drawn_losses(stage["t"]).items():
            above = threshold(formula, stage["cos_target"])
            value, _ = negatives(formula, cos, above)
            value[(cos > above.item()).int().argmax() - 1] = torch.nan  # do not join the jump
            axis.plot(cos, value, DASH[name], color=COLORS[name], label=name)
        axis.axvline(above.item(), color="k", lw=0.8, alpha=0.5)
        axis.annotate(" hard →", (above.item(), 1.6), fontsize=9)
        axis.set(xlabel="cos θ_j of a negative", title=_stage(title, stage), ylim=(-0.6, 1.8))
    axes[0].set_ylabel("N")
    axes[0].legend(fontsize=8.5, loc="lower right")
    return figure


def draw_modulation(seed: int) -> Any:
    """I = N / cos θ_j over the hard negatives, early and late."""
    figure, axes = panels(2, sharey=True)
    cos = torch.linspace(0.02, 1, 981, dtype=torch.float64)
    for axis, (title, stage) in zip(axes, (("Early", EARLY), ("Late", LATE))):
        for name, formula in drawn_losses(stage["t"]).items():
            above = threshold(formula, stage["cos_target"])
            value, _ = negatives(formula, cos, above)
            ratio = value / cos
            first = int((cos > above.item()).int().argmax())
            if first > 0:
                ratio[first - 1] = torch.nan
            axis.plot(cos, ratio, DASH[name], color=COLORS[name], label=name)
        if above.item() > 0:
            axis.axvline(above.item(), color="k", lw=0.8, alpha=0.5)
            axis.annotate(" hard →", (above.item(), 2.85), fontsize=9)
        else:
            axis.annotate(f"all hard: threshold {above.item():.2f}", (0.5, 0.04), fontsize=9)
        axis.set(xlabel="cos θ_j of a negative", title=_stage(title, stage), ylim=(0, 3.1))
        axis.set_xlim(0, 1)
    axes[0].set_ylabel("I = N / cos θ_j")
    axes[0].legend(fontsize=8.5)
    return figure


def draw_boundaries(seed: int) -> Any:
    """Where T(θ1) = N(θ2) for a negative that counts as hard, m = 0.5."""
    figure, (axis,) = panels(1, width=7.4, height=4.8)
    degrees = torch.linspace(0, 90, 361, dtype=torch.float64)
    cos = torch.cos(torch.deg2rad(degrees))
    shown = {"Softmax": create_formula("softmax").double().eval()}
    made = drawn_losses(0.0)
    shown |= {"ArcFace": made["ArcFace"], "MV-Arc-Softmax": made["MV-Arc-Softmax"]}
    shown["CurricularFace, early"] = made["CurricularFace"]
    shown["CurricularFace, late"] = drawn_losses(1.0)["CurricularFace"]
    notes = {"CurricularFace, early": " (t = 0)", "CurricularFace, late": " (t = 1)"}
    notes["MV-Arc-Softmax"] = " (t = 1.2)"
    for name, formula in shown.items():
        t = target(formula, cos)  # over θ1
        n, _ = negatives(formula, cos, torch.full((1, 1), -2.0, dtype=torch.float64))  # over θ2
        gap = t[None, :] - n[:, None]
        axis.contour(degrees, degrees, gap, levels=[0], colors=COLORS[name], linewidths=2)
        axis.plot([], [], color=COLORS[name], lw=2, label=name + notes.get(name, ""))
    axis.annotate("class 1", (12, 78), fontsize=13)
    axis.annotate("class 2", (68, 12), fontsize=13)
    axis.set(xlabel="θ1: angle to centre 1 (the label), degrees")
    axis.set(ylabel="θ2: angle to centre 2, degrees", xlim=(0, 90), ylim=(0, 90), aspect="equal")
    axis.set_title("Decision boundary T(θ1) = N(θ2), m = 0.5")
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return figure


def _stage(title: str, stage: dict[str, float]) -> str:
    return f"{title}: cos θ_y = {stage['cos_target']}, t = {stage['t']}"
