"""The folder of a run: made once, never overwritten, with the config that was resolved."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from frfw.errors import FrfwError

Config = dict[str, Any]


class RunFolder:
    """Names of what a run leaves behind. `path` is `runs/<name>`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def overrides_file(self) -> Path:
        return self.path / "overrides.yaml"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    def create(self, config: Config, overrides: list[str], resuming: bool) -> None:
        """Make the folder and write config and overrides into it.

        Raises:
            FrfwError: the folder holds a run already and this is not a resumption of it, or the
                folder cannot be written.
        """
        if self.path.exists() and not self.path.is_dir():
            raise FrfwError(f"{self.path} is a file; choose another run name with name=")
        if not resuming and self.path.is_dir() and any(self.path.iterdir()) and self._trained():
            raise FrfwError(
                f"run folder {self.path} exists already; choose another name=, "
                "or continue it with resume=auto"
            )
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            if not (resuming and self.config_file.exists()):  # else once it is known to fit
                self.write_config(config)
            if not (resuming and self.overrides_file.exists()):
                self._write(self.overrides_file, yaml.safe_dump(overrides))
        except OSError as error:
            raise FrfwError(
                f"cannot write run folder {self.path}: {error.strerror}; set runs= elsewhere"
            ) from error

    def write_config(self, config: Config) -> None:
        """Write `config.yaml`."""
        self._write(self.config_file, yaml.safe_dump(config, sort_keys=False))

    def _trained(self) -> bool:
        """Whether there is more than what a dry run leaves."""
        tried = (self.read_result() or {}).get("status") == "dry_run"
        return not tried or any(self.checkpoints.glob("*"))

    def write_result(self, result: dict[str, Any]) -> None:
        """Write `result.json`: status, metrics, steps, minutes."""
        self._write(self.result_file, json.dumps(result, indent=1, default=float) + "\n")

    def read_result(self) -> dict[str, Any] | None:
        """Return what `write_result` wrote, or None where the run did not end."""
        try:
            return json.loads(self.result_file.read_text())
        except (OSError, ValueError):
            return None

    @staticmethod
    def _write(path: Path, text: str) -> None:
        aside = path.with_name(f".{path.name}.tmp")
        aside.write_text(text)
        os.replace(aside, path)
