"""A study: each trial is a training of its own process, watched, and pruned when it does badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from frfw.errors import FrfwError
from frfw.training import sweep
from frfw.training.run_folder import RunFolder

_POLL_S = 0.5


class Search:
    """An Optuna study over overrides of `frfw.train`, kept in SQLite so that it can go on.

    Args:
        options: the resolved `configs/search.yaml`.
        folder: of the study: `study.db`, one run folder a trial, `sweep.csv`, `report.html`.

    Raises:
        FrfwError: Optuna is not installed, or the space cannot be read.
    """

    def __init__(self, options: dict[str, Any], folder: Path) -> None:
        self.options, self.folder = options, folder
        self.space = read_space(options["space"])
        self.study = self._open()

    def _open(self) -> Any:
        try:
            import optuna
        except ImportError as error:
            raise FrfwError("frfw.search needs Optuna: pip install 'frfw[search]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        after = self.options["prune_after"]
        pruner = optuna.pruners.MedianPruner(n_startup_trials=after, n_warmup_steps=0)
        study = optuna.create_study(
            storage=f"sqlite:///{self.folder / 'study.db'}",
            study_name="frfw",
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=self.options["seed"]),
            pruner=pruner if self.options["prune"] else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # cut off with us
            study.enqueue_trial(trial.params)
        return study

    def run(self) -> None:
        """Run the missing trials, then write table, `sweep.csv` and report."""
        os.environ[sweep.SWEPT] = json.dumps([key for key, _ in self.space])
        while self._done() < self.options["trials"]:
            self._trial(self.study.ask())
        rows = sweep.collect(self.folder)
        sweep.write_csv(rows, self.folder / "sweep.csv")
        sweep.print_table(rows, self.folder)
        if any(t.value is not None for t in self.study.get_trials(deepcopy=False)):
            best = self.study.best_trial
            chosen = ", ".join(f"{k}={v}" for k, v in best.params.items())
            print(f"best: trial {best.number}, {100 * best.value:.2f} % with {chosen}")
        sweep.write_comparison(self.folder)

    def _done(self) -> int:
        import optuna

        states = optuna.trial.TrialState
        ended = (states.COMPLETE, states.PRUNED)
        failed = len(self.study.get_trials(deepcopy=False, states=(states.FAIL,)))
        if failed > self.options["trials"]:
            raise FrfwError(f"{failed} trials failed; see the log.txt in {self.folder}")
        return len(self.study.get_trials(deepcopy=False, states=ended))

    def _trial(self, trial: Any) -> None:
        import optuna

        overrides = [f"{key}={suggest(trial, key, values)}" for key, values in self.space]
        name = f"trial_{trial.number:03d}"
        print(f"{name}: {' '.join(overrides)}", flush=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "frfw.train", *self.options["fixed"], *overrides,
             f"runs={self.folder}", f"name={name}", "resume=auto"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        run = RunFolder(self.folder / name)
        pruned = self._watch(trial, run, process)
        value = self._value(run)
        if pruned:
            run.write_result({**(run.read_result() or {}), "status": "pruned"})
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif process.returncode == 0 and value is not None:
            self.study.tell(trial, value)
        else:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def _watch(self, trial: Any, run: RunFolder, process: subprocess.Popen) -> bool:
        """Report each evaluation to the study; end the trial when the study says so."""
        seen = 0
        while process.poll() is None:
            time.sleep(_POLL_S)
            values = evaluations(run.path / "metrics.jsonl", self.options["metric"])
            for number, value in enumerate(values[seen:], seen):
                trial.report(value, number)
            seen = len(values)
            if seen and trial.should_prune():
                process.send_signal(signal.SIGTERM)
                process.wait()
                return True
        return False

    def _value(self, run: RunFolder) -> float | None:
        metrics = (run.read_result() or {}).get("metrics") or {}
        return score(
            {name: figures["accuracy"] for name, figures in metrics.items()}, self.options["metric"]
        )


def read_space(lines: list[str]) -> list[tuple[str, Any]]:
    """Parse `KEY=choice(...)`, `KEY=interval(...)`, `KEY=range(...)` with Hydra's grammar.

    Raises:
        FrfwError: names the line that cannot be read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    found = []
    for line in lines:
        try:
            parsed = OverridesParser.create().parse_override(str(line))
        except HydraException as error:
            raise FrfwError(f"space: cannot read '{line}': {error}") from error
        if not parsed.is_sweep_override():
            raise FrfwError(f"space: '{line}' has one value; give choice(), interval() or range()")
        found.append((parsed.key_or_group, parsed.value()))
    if not found:
        raise FrfwError("space=[] names nothing to search")
    return found


def suggest(trial: Any, key: str, values: Any) -> Any:
    """Let the study choose a value of one line of the space."""
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep

    log = "log" in values.tags
    if isinstance(values, IntervalSweep):
        if isinstance(values.start, int) and isinstance(values.end, int):
            return trial.suggest_int(key, values.start, values.end, log=log)
        return trial.suggest_float(key, float(values.start), float(values.end), log=log)
    options = values.list if isinstance(values, ChoiceSweep) else list(values.range())
    return trial.suggest_categorical(key, [getattr(o, "text", o) for o in options])


def evaluations(path: Path, metric: str) -> list[float]:
    """Return the metric at each evaluation that a run has logged so far."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the line being written
            continue
        named = {
            key.split("/")[1]: float(value)
            for key, value in record.items()
            if key.startswith("val/") and key.endswith("/accuracy")
        }
        value = score(named, metric)
        if value is not None:
            found.append(value)
    return found


def score(accuracies: dict[str, float], metric: str) -> float | None:
    """Return one set's accuracy, or the mean over all; None where it is not there."""
    if metric == "mean":
        return sum(accuracies.values()) / len(accuracies) if accuracies else None
    return accuracies.get(metric)
