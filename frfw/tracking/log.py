"""`log.txt` and the terminal: plain lines through Python's `logging`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from tqdm import tqdm

_NAME = "frfw"
_FILE_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class RunLog:
    """Sends what is logged under "frfw" to a file (with time and level) and to the terminal.

    While open, the "frfw" logger does not pass its records on: Hydra configures the root logger,
    and every line would be printed twice. `close` puts the logger back as it was.
    """

    def __init__(self, path: Path) -> None:
        self.logger = logging.getLogger(_NAME)
        self._before = (self.logger.propagate, self.logger.level)
        self.logger.propagate = False
        self.logger.setLevel(logging.INFO)
        to_file = logging.FileHandler(path, encoding="utf-8")
        to_file.setFormatter(logging.Formatter(_FILE_FORMAT, "%Y-%m-%d %H:%M:%S"))
        self._handlers: list[logging.Handler] = [to_file, _Console()]
        for handler in self._handlers:
            self.logger.addHandler(handler)

    def write(self, text: str, *, console: bool = True) -> None:
        self.logger.info(text, extra={"file_only": not console})

    def close(self) -> None:
        for handler in self._handlers:
            self.logger.removeHandler(handler)
            handler.close()
        self.logger.propagate, level = self._before
        self.logger.setLevel(level)


class _Console(logging.Handler):
    """Prints records above a progress bar, if there is one, without tearing it."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "file_only", False):
            return
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        tqdm.write(level + record.getMessage(), file=sys.stdout)
        sys.stdout.flush()
