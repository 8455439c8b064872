"""Fill a template and write the page in one piece."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jinja2

import frfw


def write_page(template: str, path: Path, facts: dict[str, Any]) -> Path:
    """Render `template` with `facts` to `path`; a reader never sees half a page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template(template).render(version=frfw.__version__, **facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(html, encoding="utf-8")
    os.replace(aside, path)
    return path
