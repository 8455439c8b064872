"""Draw many people's pictures in worker processes, in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from functools import partial
from multiprocessing.context import BaseContext

import cv2

from frfw.data.synthetic.conditions import draw_conditions
from frfw.data.synthetic.draw import draw_person, person_sheets
from frfw.data.synthetic.sets import Parameters, Person


def draw_jpegs(person: Person, p: Parameters) -> list[bytes]:
    """Return one person's pictures as JPEG, each at its own quality."""
    identity, sheets = person_sheets(p.seed, person.number, p.difficulty.spread)
    made = []
    for index, scene in person.pictures:
        c = draw_conditions(identity, index, scene, p.difficulty)
        picture = draw_person(identity, sheets, c, p.size)
        quality = [cv2.IMWRITE_JPEG_QUALITY, c.jpeg]
        made.append(cv2.imencode(".jpg", picture[..., ::-1], quality)[1].tobytes())
    return made


def draw_people(
    people: Iterable[Person], p: Parameters, workers: int, fork: bool = False
) -> Iterator[list[bytes]]:
    """Yield every person's JPEGs in order; what is drawn does not depend on ``workers``.

    Args:
        people: whom to draw.
        p: seed, size, difficulty.
        workers: processes; 0 or 1 draws in this one.
        fork: fork them from this process, see `write_dataset`.
    """
    draw = partial(draw_jpegs, p=p)
    if workers <= 1:
        yield from map(draw, people)
        return
    with _context(fork).Pool(workers, initializer=_start) as pool:
        yield from pool.imap(draw, people)


def _context(fork: bool) -> BaseContext:
    """How processes start: by default not forked from this one, whose threads they would lack."""
    methods = multiprocessing.get_all_start_methods()
    if fork and "fork" in methods:
        return multiprocessing.get_context("fork")
    if "forkserver" not in methods:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # import once, then fork quickly
    return context


def _start() -> None:
    cv2.setNumThreads(1)  # one process a core already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool


def default_workers() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
