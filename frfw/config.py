"""Where the Hydra configs are: beside the package in a clone, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

from frfw.errors import FrfwError


def config_dir() -> Path:
    """Return the folder of the Hydra config groups.

    Raises:
        FrfwError: the installation lacks its configs.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FrfwError(
        f"no configs found beside or inside {package}: reinstall frfw, or run from a complete clone"
    )
