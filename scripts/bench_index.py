"""Open a set of 10 million images: seconds and memory, first time and later.

python scripts/bench_index.py [--kind records|parquet|csv] [--images 10000000] [--folder FOLDER]

The records of the RecordIO set are tiny, a list names images that are not there: it is
the index that is measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from frfw.data.recordio_format import MAGIC


def write(folder: Path, images: int, identities: int) -> None:
    """Write records of 40 bytes with an 8-byte payload; no header or identity records."""
    word = np.dtype([("magic", "<u4"), ("length", "<u4"), ("flag", "<u4"), ("label", "<f4")])
    record = np.dtype([("head", word), ("id", "<u8"), ("id2", "<u8"), ("image", "S8")])
    with open(folder / "train.rec", "wb") as rec, open(folder / "train.idx", "w") as idx:
        for start in range(0, images, 1_000_000):
            key = np.arange(start, min(start + 1_000_000, images))
            block = np.zeros(len(key), record)
            block["head"]["magic"], block["head"]["length"] = MAGIC, record.itemsize - 8
            block["head"]["label"] = key * identities // images
            block["image"] = b"an image"
            block.tofile(rec)
            idx.write("".join(f"{k}\t{k * record.itemsize}\n" for k in key.tolist()))


def write_list(path: Path, images: int, identities: int) -> None:
    """Write a list with paths as web-crawled sets have them."""
    import pandas as pd

    number = np.arange(images)
    identity = number * identities // images
    paths = [f"m.{i:06x}/{n:08d}.jpg" for n, i in zip(number.tolist(), identity.tolist())]
    table = pd.DataFrame({"path": paths, "identity": [f"m.{i:06x}" for i in identity.tolist()]})
    table.to_parquet(path) if path.suffix == ".parquet" else table.to_csv(path, index=False)


def resident(name: str) -> float:
    """Return a value of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(name))


def open_and_report(folder: str) -> None:
    """Open, draw an epoch's order, touch every label; print seconds and memory."""
    from frfw.data import create_order, open_source

    before, started = resident("VmRSS"), time.perf_counter()
    dataset = open_source(folder)
    opened = time.perf_counter() - started
    after = resident("VmRSS")
    _ = int(np.asarray(dataset.labels).max())
    create_order("shuffled", dataset.labels).order(0)
    peak = resident("VmHWM")
    anonymous = resident("RssAnon")
    print(
        f"{len(dataset):,} images, {dataset.num_classes:,} identities: opened in {opened:.2f} s, "
        f"+{after - before:.0f} MB; with labels read and an order drawn: "
        f"+{resident('VmRSS') - before:.0f} MB (peak {peak - before:.0f} MB above the start), "
        f"of which private {anonymous:.0f} MB in all with torch"
    )


def main() -> None:
    """Write the set, then open it in two fresh processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=("records", "parquet", "csv"), default="records")
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--identities", type=int, default=100_000)
    parser.add_argument("--folder", help="where to write it (default: a temporary folder)")
    parser.add_argument("--open", dest="existing", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.existing:
        open_and_report(arguments.existing)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        opened = Path(folder)
        if arguments.kind == "records":
            write(opened, arguments.images, arguments.identities)
        else:
            opened /= f"faces.{arguments.kind}"
            write_list(opened, arguments.images, arguments.identities)
        for when in ("first opening", "second opening"):
            print(when, end=": ", flush=True)
            subprocess.run([sys.executable, __file__, "--open", str(opened)], check=True)


if __name__ == "__main__":
    main()
