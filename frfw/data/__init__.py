"""From files of faces to batches: sources, samplers, augmentation, loader, alignment, packing."""

from frfw.data.augment import create_augment
from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode
from frfw.data.loader import Loader, default_workers, make_loader
from frfw.data.preprocessing import Preprocessing
from frfw.data.record_writer import RecordWriter
from frfw.data.sampler import create_order
from frfw.data.source import open_source
from frfw.data.verification_pack import VerificationPack, read_pack, write_pack
from frfw.data.worker import Batch

__all__ = [
    "BadImage",
    "Batch",
    "Dataset",
    "Loader",
    "Preprocessing",
    "RecordWriter",
    "VerificationPack",
    "create_augment",
    "create_order",
    "decode",
    "default_workers",
    "make_loader",
    "open_source",
    "read_pack",
    "write_pack",
]
