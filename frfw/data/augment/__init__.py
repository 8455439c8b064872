"""Augmentation presets by name: the same strengths on the CPU and, batched, on the device.

`frfw.data.augment.device.DeviceAugment` is the device version; it is imported on its own, since it
loads torchvision.
"""

from frfw.data.augment.cpu import Augment
from frfw.data.augment.strengths import PRESETS, Strengths, create_augment, preset_strengths

__all__ = ["PRESETS", "Augment", "Strengths", "create_augment", "preset_strengths"]
