"""A study: each trial is a training of its own process, watched, and pruned when it does badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from frfw.errors import FrfwError, nearest
from frfw.tracking.headline import headline
from frfw.training import sweep
from frfw.training.run_folder import RunFolder
from frfw.training.stopping import EXIT_CODE

_POLL_S = 0.5
_FAILURES = 5  # in a row: then it is not the values, but something that all trials share


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
            pruner=pruner if self.options["prune"] else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        # Started again with the same seed, the sampler would draw the first trials once more.
        seed = self.options["seed"] + len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # cut off with us
            study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)  # in the same folder
        return study

    def run(self) -> None:
        """Run the missing trials, then write table, `sweep.csv` and report.

        Raises:
            FrfwError: trial after trial fails, or the metric is none of the runs' figures.
        """
        os.environ[sweep.SWEPT] = json.dumps([key for key, _ in self.space])
        signal.signal(signal.SIGTERM, _leave)
        failures = 0
        try:
            while len(self._ended()) < self.options["trials"]:
                problem = self._trial(self.study.ask())
                failures = failures + 1 if problem else 0
                if failures == _FAILURES:
                    raise FrfwError(f"{failures} trials in a row failed, the last one: {problem}")
        finally:
            if sys.exc_info()[0] is not SystemExit:  # told to stop: at once, and gone on later
                self._conclude()

    def _conclude(self) -> None:
        """Write table, `sweep.csv` and report of the trials so far, and name the best."""
        rows = sweep.collect(self.folder)
        sweep.write_csv(rows, self.folder / "sweep.csv")
        sweep.print_table(rows, self.folder)
        states = [t.state.name for t in self.study.get_trials(deepcopy=False)]
        if "COMPLETE" in states:
            best = self.study.best_trial
            chosen = ", ".join(f"{k}={v}" for k, v in best.params.items())
            print(f"best: {_run_name(best)}, {100 * best.value:.2f} % with {chosen}")
        sweep.write_comparison(self.folder)

    def _ended(self) -> set[str]:
        """Return the runs of trials that came to an end, whatever end; not those to be gone on."""
        states = [t.state.name for t in self.study.get_trials(deepcopy=False)]
        runs = [_run_name(t) for t in self.study.get_trials(deepcopy=False)]
        waiting = {run for run, state in zip(runs, states) if state == "WAITING"}
        ended = ("COMPLETE", "PRUNED", "FAIL")
        return {run for run, state in zip(runs, states) if state in ended} - waiting

    def _trial(self, trial: Any) -> str:
        """Run a trial, tell the study its end; return why it failed, or an empty text.

        One that diverged has not failed: its values are bad ones, which the sampler learns from
        as from a pruned trial that was worse than all others.
        """
        import optuna

        states = optuna.trial.TrialState
        overrides = [f"{key}={suggest(trial, key, values)}" for key, values in self.space]
        name = _run_name(trial)
        trial.set_user_attr("run", name)
        run = RunFolder(self.folder / name)
        print(f"{name}: {' '.join(overrides)}", flush=True)
        finished = (run.read_result() or {}).get("status") == "finished"  # while we were away
        pruned, problem = (False, "") if finished else self._train(trial, run, overrides)
        if problem and (run.read_result() or {}).get("status") == "diverged":
            self.study.tell(trial, state=states.PRUNED)
            return ""
        if pruned:
            run.write_result({**(run.read_result() or {}), "status": "pruned"})
            self.study.tell(trial, state=states.PRUNED)
        elif problem:
            self.study.tell(trial, state=states.FAIL)
        else:
            self.study.tell(trial, self._value(run))
        return problem

    def _train(self, trial: Any, run: RunFolder, overrides: list[str]) -> tuple[bool, str]:
        """Train in a process of its own; return whether it was pruned, and why it failed."""
        command = [
            *(sys.executable, "-m", "frfw.train"), *self.options["fixed"], *overrides,
            f"runs={self.folder}", f"name={run.path.name}", "resume=auto",
        ]  # fmt: skip
        with tempfile.TemporaryFile("w+") as complaints:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=complaints, preexec_fn=_end_with_us
            )
            try:
                pruned = self._watch(trial, run, process)
            finally:
                if process.poll() is None:  # we are to stop: the trial saves and is gone on later
                    process.terminate()
                    process.wait()
            complaints.seek(0)
            said = [line for line in complaints.read().splitlines() if line.strip()]
        if pruned or process.returncode == 0:
            return pruned, ""
        problem = (said[-1] if said else f"exit code {process.returncode}").removeprefix("error: ")
        result = run.read_result() or {}
        diverged = result.get("status") == "diverged"
        print(f"{run.path.name} {'diverged' if diverged else 'failed'}: {problem}", flush=True)
        if not diverged:
            run.path.mkdir(parents=True, exist_ok=True)
            run.write_result({**result, "status": "failed", "error": problem})
        return False, problem

    def _watch(self, trial: Any, run: RunFolder, process: subprocess.Popen) -> bool:
        """Report each evaluation to the study; end the trial when the study says so.

        Not at the last one: the training is done, and its figures count.
        """
        seen = 0
        while process.poll() is None:
            time.sleep(_POLL_S)
            values = evaluations(run.path / "metrics.jsonl", self.options["metric"])
            for number, (_, value) in enumerate(values[seen:], seen):
                trial.report(value, number)
            news, seen = len(values) > seen, len(values)
            if news and values[-1][0] < _steps(run) and trial.should_prune():
                process.terminate()
                process.wait()
                return True
        return False

    def _value(self, run: RunFolder) -> float:
        metrics = (run.read_result() or {}).get("metrics") or {}
        figures = {f"{name}/{k}": v for name, own in metrics.items() for k, v in own.items()}
        value = score(figures, self.options["metric"])
        if value is None:
            known = ["mean", *metrics, *figures]
            raise FrfwError(
                f"metric={self.options['metric']}: {run.path} has no such figure."
                f"{nearest(self.options['metric'], known)} It has {', '.join(known)}"
            )
        return value


def _steps(run: RunFolder) -> float:
    """Steps of a whole run; 0 where it does not say."""
    try:
        return float(json.loads((run.path / "environment.json").read_text())["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _run_name(trial: Any) -> str:
    return trial.user_attrs.get("run") or f"trial_{trial.number:03d}"


def _leave(*_: object) -> None:
    sys.exit(EXIT_CODE)


def _end_with_us() -> None:
    """In a trial's process: have Linux tell it to stop when the search is killed."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


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


def evaluations(path: Path, metric: str) -> list[tuple[int, float]]:
    """Return (step, the metric) of each evaluation that a run has logged so far."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the line being written
            continue
        named = {k[4:]: float(v) for k, v in record.items() if k.startswith("val/")}
        value = score(named, metric)
        if value is not None:
            found.append((int(record.get("step", 0)), value))
    return found


def score(figures: dict[str, float], metric: str) -> float | None:
    """Return the figure to be made large, or None where it is not there.

    Args:
        figures: by SET/FIGURE, such as lfw/accuracy.
        metric: one of those names; SET for its headline figure; "mean" for the mean accuracy over
            the pair sets, or over the headline figures where there is no pair set.
    """
    if "/" in metric:
        return figures.get(metric)
    sets: dict[str, dict[str, float]] = {}
    for key, value in figures.items():
        name, _, figure = key.partition("/")
        sets.setdefault(name, {})[figure] = value
    heads = {name: (head, own[head]) for name, own in sets.items() if (head := headline(own))}
    if metric != "mean":
        return heads[metric][1] if metric in heads else None
    values = [v for head, v in heads.values() if head == "accuracy"]
    values = values or [v for _, v in heads.values()]
    return sum(values) / len(values) if values else None
