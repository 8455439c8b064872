"""A bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest

from frfw.tracking.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_without_a_terminal():
    said = []
    log = lambda text, console: said.append((text, console))  # noqa: E731
    stream = io.StringIO()
    with Progress(30, log=log, stream=stream) as progress:
        for step in range(1, 31):
            progress.update(step, {"train/loss": 1 / step} if step % 10 == 0 else None)
    assert stream.getvalue() == ""
    assert [text.split("  ")[0] for text, _ in said] == ["step 10/30", "step 20/30", "step 30/30"]
    assert [console for _, console in said] == [True, False, True]  # not more often than 10 s
    assert said[-1][0] == "step 30/30  loss 0.03333  done"
    assert said[0][0].endswith("left")


def test_bar_on_a_terminal_and_lines_in_the_file():
    said, stream = [], Terminal()
    progress = Progress(4, log=lambda t, console: said.append(console), stream=stream)
    for step in range(1, 5):
        progress.update(step, {"train/loss": 2.0})
    progress.close()
    assert "train" in stream.getvalue()
    assert "\n" not in stream.getvalue().rstrip("\n")
    assert said == [False] * 4


def test_time_left_counts_from_the_first_step_done_here(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("frfw.tracking.progress.time.monotonic", lambda: now[0])
    progress = Progress(200, start=100, stream=io.StringIO())
    assert progress.seconds_left() == float("inf")
    now[0] = 30.0  # of which the first step is a small part
    progress.update(101)
    assert progress.seconds_left() == float("inf")
    assert progress.line({"loss": 1.0}).endswith("loss 1")
    now[0] = 54.5
    progress.update(150)
    assert progress.seconds_left() == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (725, "12:05"), (10930, "3:02:10"), (float("inf"), "?")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text
