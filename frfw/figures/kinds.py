"""The other losses: negatives that are raised, targets of AdaFace and combined, weightings."""

from __future__ import annotations

from typing import Any

import torch

from frfw.figures.evaluate import negatives, target, threshold
from frfw.figures.style import COLORS, panels
from frfw.losses import create_formula, create_weighting

TARGET_COS = 0.6  # of the sample whose negatives are drawn


def draw_raised(seed: int) -> Any:
    """N of the losses that raise hard negatives, and Circle's weighted logits, with gradients."""
    figure, (left, right) = panels(2, width=5.2)
    cos = torch.linspace(-0.4, 1, 1401, dtype=torch.float64)
    shown = {
        "MV-AM, m = 0.35": ("mv_am", {}),
        "SV-Softmax, adaptive": ("sv_softmax", {}),
        "SV-Softmax, fixed": ("sv_softmax", {"hard": "fixed"}),
        "NPCFace": ("npcface", {}),
        "Circle, m = 0.25": ("circle", {}),
    }
    left.plot(cos, cos, color=COLORS["Softmax"], label="cos θ_j")
    right.axhline(1, color=COLORS["Softmax"], label="cos θ_j")
    for (name, (loss, params)), style in zip(shown.items(), ("-", "--", "--", "-.", ":")):
        formula = create_formula(loss, **params).double().eval()
        above = threshold(formula, TARGET_COS)
        value, slope = negatives(formula, cos, above)
        if loss != "circle":
            edge = int((cos > above.item()).int().argmax()) - 1
            value[edge] = slope[edge] = torch.nan  # do not join the jump
        left.plot(cos, value, style, label=name)
        right.plot(cos, slope, style, label=name)
    left.set(ylabel="N", title=f"Negatives, own cosine {TARGET_COS}")
    right.set(ylabel="M = dN / d cos θ_j", title="How much more they are pushed away")
    for axis in (left, right):
        axis.set(xlabel="cos θ_j of a negative")
    left.legend(fontsize=8.5)
    return figure


def draw_samples(seed: int) -> Any:
    """T of AdaFace at the ends of ẑ and of the combined margin, by the angle."""
    figure, (left, right) = panels(2, width=5.2, sharey=True)
    degrees = torch.linspace(0, 180, 721, dtype=torch.float64)
    cos = torch.cos(torch.deg2rad(degrees))
    adaface = create_formula("adaface").double().eval()
    adaface.batch_std.fill_(adaface.h)  # ẑ = norm - mean: one below and above are its ends
    mean = adaface.batch_mean.item()
    for z, style in ((-1, ":"), (0, "-"), (1, "--")):
        # Beyond the end by a little, for eps: it is clipped to it.
        norm = mean + 1.1 * z
        left.plot(degrees, target(adaface, cos, norm), style, label=f"AdaFace, ẑ = {z}")
    margins = ((1.0, 0.5, 0.0), (1.0, 0.0, 0.35), (1.0, 0.3, 0.2), (1.35, 0.0, 0.0))
    for (m1, m2, m3), style in zip(margins, ("-", "--", "-.", ":")):
        formula = create_formula("combined", m1=m1, m2=m2, m3=m3).double().eval()
        right.plot(degrees, target(formula, cos), style, label=f"m1 {m1}, m2 {m2}, m3 {m3}")
    for axis, title in ((left, "AdaFace: low, middle, high norm"), (right, "Combined margin")):
        axis.plot(degrees, cos, color=COLORS["Softmax"], lw=1, label="cos θ")
        axis.set(xlabel="angle to the own centre, degrees", title=title, xticks=range(0, 181, 30))
        axis.legend(fontsize=8.5)
    left.set_ylabel("T")
    return figure


def draw_weightings(seed: int) -> Any:
    """What the gradient of one sample counts for in a batch, with mean, focal and OHEM."""
    figure, (axis,) = panels(1, width=6)
    losses = torch.linspace(0.01, 8, 400, dtype=torch.float64).requires_grad_()  # the batch
    shown = {"mean": ("mean", {}), "focal, γ = 1": ("focal", {"gamma": 1.0})}
    shown["focal, γ = 2"] = ("focal", {"gamma": 2.0})
    shown["OHEM, keep = 0.7"] = ("ohem", {"keep": 0.7})
    for (name, (weighting, params)), style in zip(shown.items(), ("-", "--", "-.", ":")):
        total = create_weighting(weighting, **params)(losses)
        (slope,) = torch.autograd.grad(total, losses)
        axis.plot(losses.detach(), len(losses) * slope, style, label=name)
    axis.set(xlabel="loss L_i of one sample", ylabel="batch size × dL / dL_i")
    axis.set_title("Weight of a sample by its loss, in a batch of all of them")
    axis.legend(fontsize=8.5)
    return figure
