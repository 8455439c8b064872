"""Parsers of the folder layouts in which verification sets are published."""

from frfw.data.layouts.agedb import read_agedb
from frfw.data.layouts.cfp import read_cfp
from frfw.data.layouts.common import PairList
from frfw.data.layouts.detect import read_layout
from frfw.data.layouts.lfw import read_lfw
from frfw.data.layouts.listed import read_pair_csv, read_two_line_list

__all__ = [
    "PairList",
    "read_agedb",
    "read_cfp",
    "read_layout",
    "read_lfw",
    "read_pair_csv",
    "read_two_line_list",
]
