"""Pack and inspect 100,000 generated 112x112 JPEGs: images/s and peak memory.

    python scripts/bench_tools.py DATA FOLDER [--images 100000]

DATA is any source of faces; about a thousand of its images, shifted, in other light, with noise and
encoded anew, become the images of FOLDER/faces, 100 an identity. What is there already is used.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from frfw.data import open_source
from frfw.data.decode import encode


def generate(source: str, folder: Path, images: int, each: int = 100) -> None:
    """Write `images` JPEGs that differ, `each` an identity."""
    dataset = open_source(source)
    chosen = np.linspace(0, len(dataset) - 1, 1000).astype(int)
    faces = [dataset[int(i)] for i in chosen]
    rng = np.random.default_rng(0)
    for identity in range(images // each):
        place = folder / f"{identity:05d}"
        place.mkdir(parents=True)
        face = faces[identity % len(faces)]
        for number in range(each):
            dx, dy = rng.integers(-8, 9, 2)
            shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
            image = cv2.warpAffine(face, shift, (112, 112), borderMode=cv2.BORDER_REFLECT_101)
            gain, bias = rng.uniform(0.7, 1.3), rng.uniform(-30, 30)
            image = cv2.convertScaleAbs(image, alpha=gain, beta=bias)
            spots = cv2.resize(rng.integers(0, 60, (7, 7, 3), np.uint8), (112, 112))
            quality = int(rng.integers(75, 96))
            data = encode(cv2.add(image, spots), quality=quality)
            (place / f"{number:03d}.jpg").write_bytes(data)


def measured(*arguments: str) -> str:
    """Run a tool; return its elapsed and processor seconds and its peak memory."""
    code = f"import sys; sys.argv = ['frfw.data', *{list(arguments)!r}]; "
    code += "from frfw.data.__main__ import main; main()"
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        tool = subprocess.Popen([sys.executable, "-c", code], stdout=said, stderr=said)
        _, status, used = os.wait4(tool.pid, 0)
        elapsed = time.perf_counter() - started
        said.seek(0)
        last = said.read().strip().splitlines()[-1]
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3
    return f"{elapsed:.0f} s, {cpu:.0f} s of processor, peak {peak:.0f} MB; exit {status}: {last}"


def main() -> None:
    """Generate, pack, inspect the folder and the pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    arguments = parser.parse_args()
    faces, packed = arguments.folder / "faces", arguments.folder / "packed"
    if not faces.exists():
        generate(arguments.data, faces, arguments.images)
    if not packed.exists():
        print("pack:", measured("pack", str(faces), str(packed)), flush=True)
    picture = str(arguments.folder / "inspect.png")
    print("inspect:", measured("inspect", str(packed), "--picture", picture), flush=True)


if __name__ == "__main__":
    main()
