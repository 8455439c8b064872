"""The report in a real browser: nothing missing, nothing on top of anything, nothing cut off."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from frfw.evaluation.identification import identify
from frfw.evaluation.protocol_result import ProtocolResult
from frfw.evaluation.stream import ScoreStream
from frfw.tracking import write_comparison, write_report

_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--virtual-time-budget=5000", "--enable-logging=stderr",
)  # fmt: skip
# Runs in the page, framed at the width in question, and hands its findings to the frame's owner.
_PROBE = """
<script>
window.problems = [];
addEventListener("error", e => problems.push("error: " + (e.message || e.target.src)), true);
addEventListener("load", () => {
  const say = (what, e) => problems.push(what + ": <" + e.tagName + "> " +
    e.textContent.trim().slice(0, 60));
  for (const i of document.images) if (!i.complete || !i.naturalWidth) say("not loaded", i);
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) problems.push("the page scrolls sideways");
  for (const e of document.querySelectorAll("body *")) {
    if (e.closest(".wide, nav") || e.closest("svg") !== null && e.tagName !== "svg") continue;
    const box = e.getBoundingClientRect();
    if (box.width && (box.right > width + 1 || box.left < -1)) say("over the edge", e);
  }
  const cross = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 &&
    a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const apart = (list, what) => {
    const boxes = list.map(e => e.getBoundingClientRect());
    for (let i = 0; i < list.length; i++) for (let j = 0; j < i; j++)
      if (cross(boxes[i], boxes[j]))
        say(what + " on " + list[j].textContent.trim().slice(0, 30), list[i]);
  };
  apart([...document.querySelectorAll("section")], "section");
  apart([...document.querySelectorAll(".card")], "card");
  for (const card of document.querySelectorAll(".card")) {
    const inside = card.getBoundingClientRect();
    apart([...card.children], "part");
    for (const t of card.querySelectorAll("svg text, td, dd, li, p, img")) {
      const box = t.getBoundingClientRect();
      if (box.width && !t.closest(".wide") &&
          (box.right > inside.right + 1 || box.left < inside.left - 1)) say("out of its card", t);
    }
    apart([...card.querySelectorAll("svg text")], "mark");
  }
  for (const w of document.querySelectorAll(".wide"))
    if (w.scrollWidth > w.clientWidth + 1) say("a table scrolls", w);
  const ink = getComputedStyle(document.body);
  parent.postMessage(JSON.stringify({problems, width, images: document.images.length,
    charts: document.querySelectorAll("svg").length, page: ink.backgroundColor}), "*");
});
</script>
"""
_FRAME = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<style>html {{ color-scheme: light dark; }} iframe {{ border: 0; width: {width}px; height: 900px; }}
</style><pre id="found"></pre><script>
addEventListener("message", e => document.getElementById("found").textContent = e.data);
</script><iframe src="{page}"></iframe>"""


def look(page, width, dark, folder):
    """Open a page in a frame of `width` pixels and return what the probe found."""
    probed = folder / "probed.html"
    probed.write_text(page.read_text().replace("<head>", "<head>" + _PROBE, 1))
    owner = folder / f"frame-{width}.html"
    owner.write_text(_FRAME.format(width=width, page=probed.name))
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [_BROWSER, *_FLAGS, *scheme, f"--user-data-dir={folder / f'profile-{width}-{dark}'}",
         "--window-size=1500,1000", "--dump-dom", owner.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, "the page did not load"
    assert found[1], "the page did not get to its load event"
    return json.loads(html.unescape(found[1])), console


@pytest.fixture(scope="module")
def pages(make_run, tmp_path_factory):
    root = tmp_path_factory.mktemp("reports")
    run = write_report(make_run(root / "a-run-with-a-name-that-is-rather-long-for-a-phone"))
    for loss in ("arcface", "curricular"):
        for seed in (1, 2):
            make_run(root / "sweep" / f"loss={loss},seed={seed}", loss, 0.3 + 0.1 * seed, seed,
                     steps=160, diverges=loss == "arcface" and seed == 2, full=False)  # fmt: skip
    for trial in range(7):
        make_run(root / "search" / f"trial_{trial:03d}", ("arcface", "curricular")[trial % 2],
                 0.2 + 0.06123456789 * trial, quality=0.6 + 0.04 * trial, steps=160,
                 full=False)  # fmt: skip
    return {
        "run": run,
        "everything": write_report(with_everything(make_run(root / "everything"))),
        "comparison": write_comparison([root / "sweep"]),
        "search": write_comparison([root / "search"]),
    }


def with_everything(run):
    """A run scored by groups, in galleries and by templates too, one file of it damaged."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, 16))

    def near(people, spread):
        return centres[people] + spread * rng.normal(size=(len(people), 16))

    every = np.arange(60)
    found = {
        f"S{n}": identify(near(every[:40], 0.5), every[:40], near(every, 0.9), every, name=f"S{n}")
        for n in (1, 2)
    }
    stream = ScoreStream()
    same = rng.random(20000) < 0.2
    stream.add(np.clip(rng.normal(np.where(same, 0.55, 0.1), 0.12), -1, 1), same)
    one = stream.result("ijbb", (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6))
    evaluation = run / "evaluation"
    note = "12 lines of ijbb_template_pair_label.txt come more than once"
    ProtocolResult("ijbb", "templates", one, found, notes=[note]).save(evaluation)
    ProtocolResult("staff", "identification", None, {"gallery": found["S1"]}).save(evaluation)
    content = json.loads((evaluation / "lfw.json").read_text())
    content["groups"] = {
        group: {**content, "groups": {}, "pair_count": 1500}
        for group in ("African", "Asian", "Caucasian", "Indian")
    }
    content["groups"]["no pairs of both kinds"] = {"pair_count": 3, "note": "all pairs are 'same'"}
    (evaluation / "lfw.json").write_text(json.dumps(content))
    (evaluation / "cfp_fp.npz").write_bytes(b"PK")
    return run


@pytest.mark.slow
@pytest.mark.skipif(_BROWSER is None, reason="no chromium on this machine")
@pytest.mark.parametrize("name", ["run", "everything", "comparison", "search"])
@pytest.mark.parametrize(("width", "dark"), [(380, False), (1400, True)])
def test_page_in_a_browser(pages, name, width, dark, tmp_path):
    found, console = look(pages[name], width, dark, tmp_path)
    assert found["problems"] == []
    assert console == []
    assert found["width"] in (width, width - 15)  # less a scroll bar
    assert found["charts"] >= (4 if name == "search" else 8)
    assert found["images"] >= (4 if name in ("run", "everything") else 0)
    shade = max(map(int, re.findall(r"\d+", found["page"])[:3]))
    assert shade < 60 if dark else shade > 200


_FLAWS = {
    "over the edge": '<div class="card" style="width: 900px">wide</div>',
    "not loaded": '<img src="missing.png" alt="">',
    "error": "<script>undefinedFunction()</script>",
    "mark": '<div class="card"><svg><text y="20">one</text><text y="20">two</text></svg></div>',
    "card on": '<div class="card">a</div><div class="card" style="margin-top: -20px">b</div>',
}


@pytest.mark.slow
@pytest.mark.skipif(_BROWSER is None, reason="no chromium on this machine")
def test_the_probe_sees_what_is_wrong(tmp_path):
    page = tmp_path / "flawed.html"
    body = "".join(f"<div>{flaw}</div>" for flaw in _FLAWS.values())
    page.write_text(f"<!doctype html><html><head></head><body>{body}</body></html>")
    found, console = look(page, 380, False, tmp_path)
    for flaw in _FLAWS:
        assert any(problem.startswith(flaw) for problem in found["problems"]), flaw
    assert any("undefinedFunction" in line for line in console)
