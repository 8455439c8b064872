"""Explain a refused Hydra override: which key or group choice, and the nearest right name."""

from __future__ import annotations

import re
from pathlib import Path

from frfw.config import config_dir
from frfw.errors import FrfwError, nearest

# Keys that may be written under another group's name too: the warm-up is the loss's, but only
# fine-tuning uses it, and there it is once for all losses.
_ALIASES = {f"loss.{key}": f"finetune.{key}" for key in ("warmup", "warmup_m", "warmup_s")}

_WORDS = ("on", "off", "yes", "no")


def renamed(arguments: list[str]) -> list[str]:
    """Replace alias keys of a command line's overrides by the keys that they stand for."""
    parts = [argument.partition("=") for argument in arguments]
    return [_ALIASES.get(name, name) + equals + value for name, equals, value in parts]


def refuse_words(arguments: list[str]) -> None:
    """Refuse `key=off` and its like: Hydra takes the word for a text, and a text counts as true.

    Raises:
        FrfwError: the key, and what to write.
    """
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key != "name" and any(part.strip().lower() in _WORDS for part in value.split(",")):
            raise FrfwError(
                f"{argument}: write {key}=true or {key}=false "
                f"(if it is a text: {key}=\"'{value}'\")"
            )


def explain(error: Exception, config_name: str, arguments: list[str]) -> str:
    """Turn a Hydra or OmegaConf error into one sentence with the nearest right name."""
    from hydra.errors import MissingConfigException

    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _explain_choice(str(error.missing_cfg_file), error.options)
    text = " ".join(str(error).split())
    key = re.search(r"Could not override '([^']+)'", text)
    if key:
        return _explain_key(key.group(1).split("@")[0], config_name, arguments)
    cause = f" ({' '.join(str(error.__cause__).split())})" if error.__cause__ else ""
    return f"{text}{cause}"


def _explain_choice(missing: str, options: object) -> str:
    group, _, choice = missing.rpartition("/")
    folder = config_dir() / group
    choices = sorted(p.stem for p in folder.glob("*.yaml")) or sorted(map(str, options or ()))
    if not group:
        return f"no config named '{choice}' in {config_dir()}"
    return (
        f"{group}={choice}: there is no such choice.{nearest(choice, choices)} "
        f"Choices: {', '.join(choices)}"
    )


def _explain_key(key: str, config_name: str, arguments: list[str]) -> str:
    groups = [p.name for p in config_dir().iterdir() if p.is_dir()]
    known = [*composed_keys(config_name, _other_overrides(key, arguments)), *groups]
    hint = nearest(key, known)
    if not hint and "." in key:  # the last part alone may be the right name in another group
        leaves = {name.rpartition(".")[2]: name for name in known}
        hint = nearest(key.rpartition(".")[2], leaves)
    where = _siblings(key, known)
    return f"unknown key '{key}'.{hint}{where} --cfg job shows all keys"


def _siblings(key: str, known: list[str]) -> str:
    parent = key.rpartition(".")[0]
    names = sorted(
        {k[len(parent) + 1 :].split(".")[0] for k in known if k.startswith(parent + ".")}
    )
    return f" Keys of {parent}: {', '.join(names)}." if parent and names else ""


def _other_overrides(key: str, arguments: list[str]) -> list[str]:
    """Group choices of the command line, which decide what keys there are; sweeps: the first."""
    chosen = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        is_group = equals and (config_dir() / name).is_dir()
        if is_group and name != key and not value.startswith("["):
            chosen.append(f"{name}={value.split(',')[0]}")
    return chosen


def composed_keys(config_name: str, overrides: list[str]) -> list[str]:
    """Every dotted key of the composed config, leaves and inner nodes."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(Path(config_dir())), version_base="1.3"):
            config = OmegaConf.to_container(compose(config_name, overrides=overrides))
    except Exception:  # a second bad override: hints then come from group names alone
        return []
    return list(_flatten(config, ""))


def _flatten(node: object, prefix: str) -> list[str]:
    keys: list[str] = []
    if isinstance(node, dict):
        for name, value in node.items():
            path = f"{prefix}.{name}" if prefix else str(name)
            keys += [path, *_flatten(value, path)]
    return keys
