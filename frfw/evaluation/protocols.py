"""Sets that are no pair lists: identification from folders or lists, and IJB-B / IJB-C."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.evaluation.cache import EmbeddingCache
from frfw.evaluation.extraction import Embed, Extraction, Stop, extract
from frfw.evaluation.opening import present
from frfw.evaluation.protocol_result import ProtocolResult
from frfw.evaluation.search_set import SearchSet, open_search
from frfw.evaluation.template_set import TemplateSet, open_templates

OpenSet = SearchSet | TemplateSet
_OPEN = {"identification": open_search, "templates": open_templates}


def open_protocols(sets: Mapping[str, Any], skip_missing: bool = False) -> dict[str, OpenSet]:
    """Read the lists of the sets that are no pair lists, so that a bad one is refused at once.

    One whose files are not there is passed over with a warning, unless it is the only set.

    Args:
        sets: by name, all that `evaluation.sets` holds; pair sets among them are left out.
        skip_missing: of sets that do not say: leave out images that are missing.

    Raises:
        FrfwError: an unknown kind or key, a key that must be given, the only set is missing, or
            what is wrong with a list.
    """
    found = present(sets, tuple(_OPEN), skip_missing)
    return {name: _OPEN[source["kind"]](name, source) for name, source in found.items()}


def score_protocol(
    embed: Embed,
    name: str,
    source: OpenSet | Mapping[str, Any],
    how: Extraction,
    cache: EmbeddingCache | None = None,
    stop: Stop | None = None,
) -> ProtocolResult:
    """Score one set of `kind` identification or templates; call it on every rank.

    Args:
        source: the set as `open_protocols` opened it, or its settings.

    Raises:
        Stopped: `stop`, which is asked between batches, said so.
        FrfwError: what `open_protocols` refuses, or images that cannot be read.
    """
    if isinstance(source, Mapping):
        source = open_protocols({name: source})[name]
    images, normalised = source.images, source.normalised

    def make() -> NDArray[np.float32]:
        return extract(embed, images, how, normalise=normalised, stop=stop)

    if cache is None:
        return source.score(make())
    return source.score(cache.get(images, how, make, "" if normalised else "not normalised"))
