"""`python -m frfw.train`: compose the config, start the run. See `--help`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from frfw.command import SKIP_MISSING, hydra_command


@hydra_command("train", flags=SKIP_MISSING)
def main(cfg: Any) -> None:
    """Train one run, or one job of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from frfw.training import first_use, jobs

    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    if cfg.resume in (None, "auto"):  # otherwise the stored config says what the data are
        first_use.draw_if_missing(cfg, hydra.runtime.choices.get("data", ""))
    if hydra.mode == RunMode.MULTIRUN:
        jobs.run_sweep_job(cfg, overrides, Path(hydra.sweep.dir))
    else:
        jobs.run_single(cfg, overrides)


if __name__ == "__main__":
    main()
    from frfw.training import sweep

    sweep.exit_if_jobs_failed()
