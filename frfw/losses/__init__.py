"""Losses: softmax-family formulas, sample weighting, and losses on embeddings."""

from frfw.losses import adaptive, curricular, elastic, margin, mining, sphere  # noqa: F401
from frfw.losses.formula import Formula, Samples, create_formula, formula_names

__all__ = ["Formula", "Samples", "create_formula", "formula_names"]
