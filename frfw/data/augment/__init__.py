"""Augmentation presets by name: the same strengths on the CPU and, batched, on the device."""

from frfw.data.augment.strengths import PRESETS, Strengths, create_augment, preset_strengths

__all__ = ["PRESETS", "Strengths", "create_augment", "preset_strengths"]
