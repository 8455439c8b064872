"""Draw the figures of the losses: `python -m frfw.figures out=figures`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from frfw.command import hydra_command
from frfw.errors import FrfwError, nearest


def drawings() -> dict[str, Callable[[int], Any]]:
    """Return name -> function(seed) -> matplotlib figure."""
    # Here, so that --help does not wait for torch and matplotlib.
    from frfw.figures import curves, digits, kinds, sampling

    return {
        "target": curves.draw_target,
        "negatives": curves.draw_negatives,
        "raised": kinds.draw_raised,
        "samples": kinds.draw_samples,
        "weightings": kinds.draw_weightings,
        "modulation": curves.draw_modulation,
        "progress": digits.draw_progress,
        "boundaries": curves.draw_boundaries,
        "weights": sampling.draw_weights,
        "triplets": sampling.draw_triplets,
        "digits": digits.draw_digits,
    }


@hydra_command("figures")
def main(cfg: Any) -> None:
    """Draw every figure that `only` names into `out` as PNG and TensorBoard events."""
    known = drawings()
    wanted = list(known) if cfg.only is None else list(cfg.only)
    for name in wanted:
        if name not in known:
            raise FrfwError(
                f"there is no figure '{name}'.{nearest(name, known)} Figures: {', '.join(known)}"
            )
    out = Path(cfg.out)
    out.mkdir(parents=True, exist_ok=True)
    board = _board(out / "tensorboard") if cfg.tensorboard else None
    for name in wanted:
        figure = known[name](cfg.seed)
        figure.savefig(out / f"{name}.png", dpi=100, bbox_inches="tight")
        print(f"wrote {out / f'{name}.png'}", flush=True)
        if board is not None:
            board.add_figure(f"losses/{name}", figure, close=False)
        _close(figure)
    if board is not None:
        board.close()
        print(f"TensorBoard: tensorboard --logdir {out / 'tensorboard'}")


def _board(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))


def _close(figure: Any) -> None:
    from frfw.figures.style import close

    close(figure)


if __name__ == "__main__":
    main()
