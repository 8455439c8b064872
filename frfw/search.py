"""`python -m frfw.search`: hyper-parameter search with Optuna. See `--help`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from frfw.command import hydra_command


@hydra_command("search")
def main(cfg: Any) -> None:
    """Run trials until the study has as many as were asked for; end in the comparison report."""
    from omegaconf import OmegaConf

    from frfw.training.search import Search

    options = OmegaConf.to_container(cfg, resolve=True)
    Search(options, Path(str(options["folder"]))).run()


if __name__ == "__main__":
    main()
