"""Draw a synthetic face data set: `python -m frfw.synthesize out=data/synthetic`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frfw.command import hydra_command
from frfw.errors import FrfwError

if TYPE_CHECKING:
    from frfw.data.synthetic import Parameters


@hydra_command("synthesize")
def main(cfg: Any) -> None:
    """Draw synthetic faces and write them as training set and verification packs."""
    from omegaconf import OmegaConf

    from frfw.data.synthetic import write_dataset

    values = OmegaConf.to_container(cfg, resolve=True)
    parameters = _parameters(values)
    out = Path(str(values["out"]))
    progress = Progress()
    new = write_dataset(
        out,
        parameters,
        workers=values["workers"] or None,
        overwrite=values["overwrite"],
        fork=True,  # nothing has been computed in this process
        contact=values["contact_sheet"],
        report=progress,
    )
    progress.close()
    if not new:
        print(f"{out} is up to date: it was drawn with these parameters")
        return
    print(_summary(out, parameters, progress))


def _parameters(values: dict[str, Any]) -> Parameters:
    """Check the types of the config's values and make the data set's parameters of them."""
    from frfw.data.synthetic import Difficulty, Parameters

    for key, kind in _KINDS.items():
        if not isinstance(values[key], kind) or isinstance(values[key], bool) != (kind is bool):
            wanted = "true or false" if kind is bool else "a whole number"
            raise FrfwError(f"{key}={values[key]} is not {wanted}")
    for key, value in values["difficulty"].items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise FrfwError(f"difficulty.{key}={value} is not a number")
    if values["workers"] < 0:
        raise FrfwError(f"workers={values['workers']} must be 0 (one a core) or more")
    sets = values["sets"] or ()
    return Parameters(
        identities=values["identities"],
        images_per_identity=values["images_per_identity"],
        size=values["size"],
        seed=values["seed"],
        pairs=values["pairs"],
        sets=(sets,) if isinstance(sets, str) else tuple(sets),
        difficulty=Difficulty(**{k: float(v) for k, v in values["difficulty"].items()}),
    )


_KINDS = {
    "identities": int, "images_per_identity": int, "size": int, "seed": int, "pairs": int,
    "workers": int, "overwrite": bool, "contact_sheet": bool,
}  # fmt: skip


class Progress:
    """A bar with images/s on a terminal, a plain line every tenth in a file."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.done = self.tenths = 0
        self.bar: Any = None

    def __call__(self, part: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` pictures are drawn, now for ``part``."""
        if sys.stderr.isatty():
            if self.bar is None:
                from tqdm import tqdm

                self.bar = tqdm(total=total, unit="img", dynamic_ncols=True)
            self.bar.set_description(part, refresh=False)
            self.bar.update(done - self.done)
        elif done * 10 // total > self.tenths:
            self.tenths = done * 10 // total
            rate = done / (time.perf_counter() - self.start)
            print(f"{part}: {done} of {total} images, {rate:.0f}/s", file=sys.stderr, flush=True)
        self.done = done

    def close(self) -> None:
        """End the bar's line."""
        if self.bar is not None:
            self.bar.close()

    @property
    def seconds(self) -> float:
        """Since the drawing began."""
        return time.perf_counter() - self.start


def _summary(out: Path, p: Parameters, progress: Progress) -> str:
    lines = [
        f"{p.identities * p.images_per_identity} training images of {p.identities} identities, "
        f"{p.size} x {p.size}",
        *(f"{name}.bin: {p.pairs} pairs" for name in p.sets),
        f"{progress.done} images in {progress.seconds:.1f} s, "
        f"{progress.done / progress.seconds:.0f} a second",
    ]
    sheet = out / "contact_sheet.png"
    if sheet.exists():
        lines.append(f"to look at: {sheet}")
    return "\n".join([f"wrote {out}", *(f"  {line}" for line in lines)])


if __name__ == "__main__":
    main()
