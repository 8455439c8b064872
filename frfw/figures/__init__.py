"""Figures of the losses, every curve computed from the formulas that train (`frfw.losses`)."""
