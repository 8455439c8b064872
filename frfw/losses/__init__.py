"""Losses: softmax-family formulas, sample weighting, and losses on embeddings."""

from frfw.losses import curricular, margin  # noqa: F401  (importing them registers their losses)
from frfw.losses.formula import Formula, Samples, create_formula, formula_names

__all__ = ["Formula", "Samples", "create_formula", "formula_names"]
