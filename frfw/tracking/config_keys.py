"""Keys of a run's config: all of them flat, and which say what is trained."""

from __future__ import annotations

from typing import Any

# Groups and keys that say where and how a run was made, and not what it is.
_GROUPS_PASSED_OVER = (
    "seed", "name", "runs", "resume", "hydra", "experiment", "evaluation", "evaluation_root",
)  # fmt: skip
_KEYS_PASSED_OVER = {
    "data.workers", "data.prefetch", "data.timeout", "trainer.device", "trainer.devices",
    "trainer.threads", "trainer.micro_batch_size", "trainer.channels_last", "trainer.compile",
    "trainer.log_every", "trainer.evaluate_every", "trainer.evaluate_first",
    "trainer.checkpoint_every", "trainer.keep_checkpoints", "trainer.embeddings",
    "trainer.timeout_s", "trainer.report", "trainer.sync_check_every", "trainer.dry_run",
}  # fmt: skip


def counts(key: str) -> bool:
    """Say whether a config key says what is trained, and not where, how fast or how often seen."""
    return key.split(".")[0] not in _GROUPS_PASSED_OVER and key not in _KEYS_PASSED_OVER


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: value} of a nested config."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
