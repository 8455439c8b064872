"""Write a synthetic data set to disk: training RecordIO, verification packs, contact sheet."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from frfw.data.alignment import Alignment
from frfw.data.manifest import MANIFEST, read_entries
from frfw.data.preprocessing import Preprocessing
from frfw.data.record_writer import RecordWriter
from frfw.data.synthetic.contact import contact_sheet, write_png
from frfw.data.synthetic.sets import PairPlan, Parameters, Person, plan_pairs, training_people
from frfw.data.synthetic.workers import default_workers, draw_people
from frfw.data.verification_pack import write_pack
from frfw.errors import FrfwError

VERSION = 1  # of the drawing: raised when the same parameters give other pictures
_ROWS, _COLUMNS = 12, 12

Report = Callable[[str, int, int], None]  # part, pictures done, pictures in all
Draw = Callable[[list[Person]], Iterator[list[bytes]]]


def write_dataset(
    out: str | Path,
    parameters: Parameters | None = None,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    fork: bool = False,
    contact: bool = True,
    report: Report | None = None,
) -> bool:
    """Draw a data set into the folder ``out``; complete under that name, or not there at all.

    Writes `train.rec`, `train.idx`, `property`, one `.bin` for each verification set,
    `manifest.json` (parameters, counts, SHA-256 of every file) and `contact_sheet.png`.

    Args:
        out: the folder; a set of the same parameters there is left as it is.
        parameters: what to draw, by default `Parameters()`.
        workers: processes, by default one a core. The pictures do not depend on it.
        overwrite: replace a synthetic set of other parameters.
        fork: fork the workers from this process. Starts at once, but is only safe where OpenCV and
            torch have not computed anything yet: they would wait for threads a fork lacks.
        contact: also write the contact sheet.
        report: called with (part, pictures done, pictures in all) as drawing goes on.

    Returns:
        False where an equal set was there already, else True.

    Raises:
        FrfwError: ``out`` holds something else, or cannot be written.
    """
    out, p = Path(out), parameters or Parameters()
    if _up_to_date(out, p, overwrite):
        return False
    unfinished = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        drawn = partial(draw_people, p=p, workers=workers or default_workers(), fork=fork)
        _fill(unfinished, p, drawn, contact, report or (lambda *_: None))
        _into_place(unfinished, out)
    except OSError as error:
        raise FrfwError(f"cannot write {error.filename or out}: {error.strerror}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return True


def _up_to_date(out: Path, p: Parameters, overwrite: bool) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    found = read_entries(out).get("synthetic") if out.is_dir() else None
    if not isinstance(found, dict):
        raise FrfwError(
            f"{out} exists and is no complete synthetic data set: give another out=, or remove it"
        )
    asked, there = p.to_dict(), found.get("parameters", {})
    if found.get("version") == VERSION and there == asked:
        return True
    if overwrite:
        return False
    differ = [
        f"{k}: {there.get(k)} there, {v} asked" for k, v in asked.items() if there.get(k) != v
    ]
    raise FrfwError(
        f"{out} holds another synthetic data set ({'; '.join(differ) or 'older drawing'}): "
        f"give another out=, or overwrite=true"
    )


def _fill(folder: Path, p: Parameters, draw: Draw, contact: bool, report: Report) -> None:
    plans = {name: plan_pairs(name, p) for name in p.sets}
    people = training_people(p)
    everyone = people + [person for plan in plans.values() for person in plan.people]
    total = sum(len(person.pictures) for person in everyone)
    drawn = _reported(draw(everyone), people, plans, total, report)
    shown: list[list[bytes]] = []
    with RecordWriter(folder, (p.size, p.size)) as writer:
        for label in range(len(people)):
            jpegs = next(drawn)
            for jpeg in jpegs:
                writer.add(jpeg, label)
            if label < _ROWS:
                shown.append(jpegs[:_COLUMNS])
    for name, plan in plans.items():
        pictures = [next(drawn) for _ in plan.people]
        images = [pictures[who][take] for pair in plan.pairs for who, take in pair]
        write_pack(folder / f"{name}.bin", images, plan.same.tolist())
    drawn.close()
    if contact:
        write_png(folder / "contact_sheet.png", contact_sheet(shown, p.size))
    _manifest(folder, p, len(everyone) - len(people))


def _reported(
    drawn: Iterator[list[bytes]],
    people: list[Person],
    plans: dict[str, PairPlan],
    total: int,
    report: Report,
) -> Iterator[list[bytes]]:
    """Pass people's pictures on and report how far the drawing is."""
    parts = ["train"] * len(people) + [n for n, plan in plans.items() for _ in plan.people]
    done = 0
    for part, jpegs in zip(parts, drawn, strict=True):
        done += len(jpegs)
        report(part, done, total)
        yield jpegs


def _manifest(folder: Path, p: Parameters, verification_people: int) -> None:
    """Add parameters, counts and hashes to the manifest that the RecordWriter made."""
    entries = read_entries(folder)
    entries["preprocessing"] = Preprocessing(p.size, alignment=_alignment(p)).to_dict()
    files = sorted(f for f in folder.iterdir() if f.suffix in (".rec", ".idx", ".bin"))
    entries["synthetic"] = {
        "version": VERSION,
        "parameters": p.to_dict(),
        "training_images": p.identities * p.images_per_identity,
        "verification_people": verification_people,
        "sha256": {f.name: _sha256(f) for f in files},
    }
    (folder / MANIFEST).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def _alignment(p: Parameters) -> dict[str, object]:
    """What the crops are: the camera puts the five landmarks, which it knows, on the template."""
    return Alignment(size=p.size, landmarks="drawn").to_dict()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _into_place(finished: Path, out: Path) -> None:
    """Rename the finished folder; one that is replaced goes only when the new one stands."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.replace(out, old)
    os.replace(finished, out)
    shutil.rmtree(old, ignore_errors=True)
