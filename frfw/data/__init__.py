"""From files of faces to batches: sources, samplers, augmentation, loader, alignment, packing."""

from frfw.data.preprocessing import Preprocessing
from frfw.data.record_writer import RecordWriter

__all__ = ["Preprocessing", "RecordWriter"]
