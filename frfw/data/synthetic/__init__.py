"""Synthetic faces: 3-D heads drawn with NumPy and OpenCV, the data set that needs no download."""

from __future__ import annotations

from frfw.data.synthetic.conditions import Conditions, Difficulty, draw_conditions
from frfw.data.synthetic.draw import draw_face
from frfw.data.synthetic.sets import Parameters
from frfw.data.synthetic.write import write_dataset

__all__ = [
    "Conditions",
    "Difficulty",
    "Parameters",
    "draw_conditions",
    "draw_face",
    "write_dataset",
]
