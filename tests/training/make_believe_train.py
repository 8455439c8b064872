"""Not a test: `python -m frfw.train` on a make-believe GPU; says at the end how often it waited."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from make_believe_gpu import MakeBelieveGpu

from frfw.train import main

if __name__ == "__main__":
    with MakeBelieveGpu() as gpu:
        main()
    print(f"waited {len(gpu.waits)} times")
