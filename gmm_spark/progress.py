"""What a fit says while it goes on: to the log, and to whoever sits before it.

The log (`logging.getLogger("gmm_spark")`, level INFO) has every line. In a terminal or a notebook,
where no handler shows them, they go to stderr too; with the level of that logger set above INFO,
nothing is said at all.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

logger = logging.getLogger(__name__)

# Seconds after which somebody who waits is told that there is work going on.
_PATIENCE = 5.0


_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is said within, to nobody."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def say(message: str, *values: object) -> None:
    """One line of progress."""
    if _quiet.get():
        return
    logger.info(message, *values)
    # A terminal that went away ends no fit: BrokenPipeError, EIO, or a file that is closed.
    with suppress(OSError, ValueError):
        if _is_watched():
            print(message % values, file=sys.stderr, flush=True)


def _is_watched() -> bool:
    return (_is_terminal() or _is_notebook()) and not _is_quiet() and not _is_logged()


def _is_terminal() -> bool:
    isatty = getattr(sys.stderr, "isatty", None)
    return isatty is not None and bool(isatty())


def _is_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _chain() -> Iterator[logging.Logger]:
    """The logger and those above it that its lines reach."""
    above: logging.Logger | None = logger
    while above is not None:
        yield above
        above = above.parent if above.propagate else None


def _is_quiet() -> bool:
    """Whether this package's logger, not that of everything, was told to say less, or all
    logging is off."""
    return logger.manager.disable >= logging.INFO or any(
        one.level > logging.INFO for one in _chain() if one.name.startswith("gmm_spark")
    )


def _is_logged() -> bool:
    """Whether the log shows these lines, to eyes and not in a file."""
    if not logger.isEnabledFor(logging.INFO):
        return False
    handlers = (handler for one in _chain() for handler in one.handlers)
    return any(
        handler.level <= logging.INFO
        and not isinstance(handler, logging.FileHandler | logging.NullHandler)
        for handler in handlers
    )


@contextmanager
def search_on_the_sample() -> Iterator[Callable[[str], None]]:
    """For a search that takes long: takes what is tried, and every few seconds says it."""
    if _quiet.get():
        yield lambda text: None
        return
    lock, ended = threading.Lock(), threading.Event()
    started = time.monotonic()
    tried = ""

    def tell(text: str) -> None:
        nonlocal tried
        with lock:
            tried = text

    def repeat() -> None:
        while not ended.wait(_PATIENCE):
            with lock:
                text = tried
            if text:
                say("search on the sample: %s, %.0f s", text, time.monotonic() - started)

    teller = threading.Thread(target=repeat, name="gmm_spark progress", daemon=True)
    teller.start()
    try:
        yield tell
    finally:
        ended.set()
        teller.join()
