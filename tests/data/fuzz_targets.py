"""Real files of every kind that users hand in, each with what reads it.

A target writes its files into a folder and names the one to damage and the function that uses it
through the public API. The function may raise FrfwError; anything else is a failure.
"""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
from scipy.io import savemat

from frfw.data import BadImage, open_source, read_pack
from frfw.data.align import align_source
from frfw.data.alignment import Alignment
from frfw.data.decode import decode, encode
from frfw.data.landmarks import read_landmarks
from frfw.data.layouts import read_layout
from frfw.data.record_writer import RecordWriter
from frfw.data.template import ARCFACE
from frfw.data.verification_pack import write_pack
from frfw.evaluation.pairs import load_pairs

SIZE = 24
Use = Callable[[], object]


def picture(at: int, suffix: str = ".jpg") -> bytes:
    rng = np.random.default_rng(at)
    return encode(rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8), suffix)


def read_all(path: object, count: int | None = None) -> None:
    """Open a source and look at all that it gives; a bad image is no failure.

    Args:
        count: of the images, which may be bad, not missing.
    """
    dataset = open_source(path)
    assert count in (None, len(dataset)), "images were lost in silence"
    out = np.zeros((dataset.size, dataset.size, 3), np.uint8)
    for index in range(len(dataset)):
        dataset.locate(index)
        for attempt in (lambda i=index: dataset[i], lambda i=index: dataset.load(i, out)):
            try:
                attempt()
            except BadImage:
                pass
    assert dataset.labels.min() >= 0
    assert dataset.labels.max() < dataset.num_classes
    assert all(isinstance(name, str) for name in dataset.identity_names)
    assert len(dataset.fingerprint) == 16


def write_faces(root: Path, suffix: str = ".jpg") -> Path:
    for at in range(4):
        path = root / "faces" / f"p{at // 2}" / f"p{at // 2}_000{at % 2 + 1}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(at, suffix))
    return root / "faces"


def images(suffix: str) -> Callable[[Path], tuple[Path, Use]]:
    def make(root: Path) -> tuple[Path, Use]:
        faces = write_faces(root, suffix)
        return faces / "p0" / f"p0_0001{suffix}", lambda: read_all({"path": faces, "size": SIZE})

    return make


def records(name: str) -> Callable[[Path], tuple[Path, Use]]:
    def make(root: Path) -> tuple[Path, Use]:
        with RecordWriter(root / "set", (SIZE, SIZE), identity_names=["a", "b"]) as writer:
            for at in range(4):
                writer.add(picture(at), at // 2)
        return root / "set" / name, lambda: read_all(root / "set", 4)

    return make


def tar(root: Path) -> tuple[Path, Use]:
    path = root / "shard.tar"
    with tarfile.open(path, "w") as archive:
        for at in range(4):
            label = json.dumps({"identity": at // 2}) if at % 2 else str(at // 2)
            for suffix, data in (
                (".jpg", picture(at)),
                (".json" if at % 2 else ".cls", label.encode()),
            ):
                member = tarfile.TarInfo(f"x/{at}{suffix}")
                member.size = len(data)
                archive.addfile(member, BytesIO(data))
    return path, lambda: read_all(path, 4)


def rows_of_a_list() -> list[dict[str, object]]:
    marks = {
        f"{axis}{k + 1}": float(point[n])
        for k, point in enumerate(ARCFACE)
        for n, axis in enumerate("xy")
    }
    return [
        {"path": f"faces/p{at // 2}/p{at // 2}_000{at % 2 + 1}.jpg", "identity": f"p{at // 2}"}
        | {"group": "g"}
        | marks
        for at in range(4)
    ]


def table(suffix: str) -> Callable[[Path], tuple[Path, Use]]:
    def make(root: Path) -> tuple[Path, Use]:
        write_faces(root)
        path = root / f"list{suffix}"
        if suffix == ".parquet":
            import pandas as pd

            pd.DataFrame(rows_of_a_list()).to_parquet(path)
        else:
            text = StringIO()
            writer = csv.DictWriter(text, list(rows_of_a_list()[0]))
            writer.writeheader()
            writer.writerows(rows_of_a_list())
            path.write_text(text.getvalue())
        return path, lambda: read_all(path)

    return make


def landmarks(suffix: str) -> Callable[[Path], tuple[Path, Use]]:
    def make(root: Path) -> tuple[Path, Use]:
        faces, path, out = write_faces(root), root / f"marks{suffix}", root / "aligned"
        names = [str(p.relative_to(faces)) for p in sorted(faces.rglob("*.jpg"))]
        separator = "," if suffix == ".csv" else " "
        head = ["path," + ",".join(f"x{k},y{k}" for k in range(1, 6))] if suffix == ".csv" else []
        numbers = separator.join(f"{value:.2f}" for value in (ARCFACE * SIZE / 112).reshape(-1))
        path.write_text("\n".join([*head, *(f"{n}{separator}{numbers}" for n in names)]) + "\n")

        def use() -> None:
            import shutil

            read_landmarks(path)
            try:
                align_source(open_source(faces), out, Alignment(size=32), landmarks=path)
            finally:
                shutil.rmtree(out, ignore_errors=True)

        return path, use

    return make


def manifest(root: Path) -> tuple[Path, Use]:
    faces = write_faces(root)
    stated = {"size": SIZE, "alignment": Alignment().to_dict()}
    path = faces / "manifest.json"
    path.write_text(json.dumps({"preprocessing": stated, "packs": {"a.bin": stated}}))

    def use() -> None:
        dataset = open_source(faces)
        dataset.preprocessing.differences(dataset.preprocessing)
        if dataset.size < 4096:
            read_all(faces)

    return path, use


def pack(root: Path) -> tuple[Path, Use]:
    path = root / "pairs.bin"
    write_pack(path, [picture(at) for at in range(4)], [True, False])

    def use() -> None:
        for data in read_pack(path).images:
            try:
                decode(data, SIZE)
            except BadImage:
                pass

    return path, use


def embeddings(root: Path) -> tuple[Path, Use]:
    path = root / "pairs.npz"
    rows = np.eye(4, dtype=np.float32)
    same, group = np.array([1, 0]), np.array(["a", "b"])
    np.savez(path, embeddings=rows, pairs=np.array([[0, 1], [2, 3]]), same=same, group=group)
    return path, lambda: load_pairs(path)


def layout(kind: str, name: str) -> Callable[[Path], tuple[Path, Use]]:
    """A pair list in the layout `kind`, over the folder of faces."""

    def make(root: Path) -> tuple[Path, Use]:
        faces, one = write_faces(root), "p0/p0_0001.jpg"
        rest = ("p0/p0_0002.jpg", "p1/p1_0001.jpg")
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "lfw":
            path.write_text("1\t1\np0\t1\t2\np0\t1\tp1\t1\n")
        elif kind == "csv":
            path.write_text(f"a,b,same,fold,group\n{one},{rest[0]},1,0,x\n{one},{rest[1]},0,0,y\n")
        elif kind == "calfw":
            path.write_text(f"{one} 1\n{rest[0]} 1\n{one} 0\n{rest[1]} 0\n")
        elif kind == "agedb_30":
            write_agedb(path, one.removesuffix(".jpg"), [r.removesuffix(".jpg") for r in rest])
        elif kind == "patch":
            mark = open_source(faces).fingerprint
            head = "action,image,identity,into,fingerprint,reason"
            path.write_text(f"{head}\ndrop_image,1,,,{mark},x\nmerge_identity,,p1,p0,{mark},y\n")
            return path, lambda: read_all({"path": faces, "patch": path})
        return path, lambda: read_layout(kind, faces, path)

    return make


def write_agedb(path: Path, one: str, rest: list[str]) -> None:
    def struct(**fields: object) -> np.ndarray:
        made = np.zeros((1, 1), [(name, "O") for name in fields])
        made[0, 0] = tuple(fields.values())
        return made

    cells = np.empty((2, 2), object)
    for column, other in enumerate(rest):
        cells[0, column], cells[1, column] = struct(name=one, age=1), struct(name=other, age=40)
    splits = np.empty((1, 1), object)
    splits[0, 0] = struct(pairs=cells, labels=np.array([[1.0, -1.0]]))
    savemat(path, {"splits": splits}, do_compression=True)


def cfp(name: str) -> Callable[[Path], tuple[Path, Use]]:
    def make(root: Path) -> tuple[Path, Use]:
        faces = write_faces(root)
        faces.rename(root / "Data")
        split = root / "Protocol" / "Split" / "FF" / "01"
        split.mkdir(parents=True)
        names = [f"p{at // 2}/p{at // 2}_000{at % 2 + 1}.jpg" for at in range(4)]
        listed = "".join(f"{at + 1} ../Data/{name}\n" for at, name in enumerate(names))
        (root / "Protocol" / "Pair_list_F.txt").write_text(listed)
        (split / "same.txt").write_text("1,2\n")
        (split / "diff.txt").write_text("1,3\n")
        return root / "Protocol" / name, lambda: read_layout("cfp_ff", root)

    return make


TARGETS: dict[str, Callable[[Path], tuple[Path, Use]]] = {
    **{f"image {suffix}": images(suffix) for suffix in (".jpg", ".png", ".bmp", ".webp", ".tif")},
    **{name: records(name) for name in ("train.rec", "train.idx", "property", "manifest.json")},
    "tar": tar,
    "list.csv": table(".csv"),
    "list.parquet": table(".parquet"),
    "landmarks.txt": landmarks(".txt"),
    "landmarks.csv": landmarks(".csv"),
    "manifest of a folder": manifest,
    "pack.bin": pack,
    "pairs.npz": embeddings,
    "pairs.txt": layout("lfw", "pairs.txt"),
    "pairs.csv": layout("csv", "pairs.csv"),
    "pairs_CALFW.txt": layout("calfw", "pairs_CALFW.txt"),
    "agedb.mat": layout("agedb_30", "protocol.mat"),
    "patch.csv": layout("patch", "patch.csv"),
    "Pair_list_F.txt": cfp("Pair_list_F.txt"),
    "same.txt": cfp("Split/FF/01/same.txt"),
}
