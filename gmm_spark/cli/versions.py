"""`gmm-spark versions`: the versions of a result, which of them readers take, and a view of it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gmm_spark.config.words import Parser
from gmm_spark.errors import ConfigurationError, GmmError
from gmm_spark.report.succession import remember_ids
from gmm_spark.report.text import table
from gmm_spark.runs.exit_codes import DONE, say
from gmm_spark.runs.session import session_of_a_run
from gmm_spark.storage import create_only, publish_log
from gmm_spark.storage.scores import view_of

ABOUT = "List the versions under a directory; make one the champion, or delete one."
# A name of SQL's, or any text in its quotes.
_NAME = r"(?:[A-Za-z_]\w*|`(?:[^`]|``)+`)"


def versions(path: str, change: argparse.Namespace) -> str:
    """What was asked for, done; the versions there are then, as text."""
    if not publish_log.is_there(path):
        raise ConfigurationError(f"path: found no versions under {path}; expected the output of "
                                 "runs with keep_versions")  # fmt: skip
    if change.view is not None:
        return view_of(path, change.view)
    lines = []
    if change.promote is not None:
        publish_log.promote(path, change.promote)
    if change.delete is not None:
        remember_ids(path, change.delete)
        publish_log.delete_version(path, change.delete)
    if change.delete_abandoned:
        left = publish_log.delete_abandoned(path)
        lines = [f"Deleted what {len(left)} runs had left: {', '.join(left) or 'none'}"]
    entry = publish_log.read(path)
    newest = entry.by_run_date().values()
    rows = [
        [
            str(one.number),
            "newest" if one in newest else ", ".join(entry.names_of(one)),
            one.run_date or "",
            one.directory,
            "" if one.refused is None else f"refused: {one.refused}",
        ]
        for one in reversed(entry.versions)
    ]
    shown = table(["version", "counts as", "run date", "where", ""], rows)
    return "\n".join([*lines, *(line.rstrip() for line in shown.splitlines())])


def _view(text: str) -> str:
    if not re.fullmatch(rf"{_NAME}(\.{_NAME})*", text):
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected the name of a view: scores, lake.scores, `my scores`"
        )
    return text


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}; expected the number of a version")
    return int(text)


def _words(argv: Sequence[str], prog: str) -> argparse.Namespace:
    parser = Parser(prog=prog, description=ABOUT, allow_abbrev=False)
    parser.add_argument("path", nargs="?", help="output of the runs that wrote them")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--promote", type=_number, metavar="VERSION", help="make it the champion")
    one.add_argument("--delete", type=_number, metavar="VERSION", help="never the champion")
    one.add_argument(
        "--view",
        type=_view,
        metavar="NAME",
        help="print the statement of Spark SQL that makes a view of the scores that count",
    )
    one.add_argument(
        "--delete_abandoned",
        action="store_true",
        help="delete what killed runs have left; no run may be at work there",
    )
    words, unknown = parser.parse_known_args(argv)
    if unknown:
        raise ConfigurationError(
            f"{unknown[0]}: found on the command line; {prog} --help lists what it takes"
        )
    if not words.path:
        raise ConfigurationError("path: found nothing; expected the output of runs with "
                                 "keep_versions")  # fmt: skip
    return words


@contextmanager
def _session_for(words: argparse.Namespace) -> Iterator[None]:
    """A session where one is needed: on HDFS an entry is created by Hadoop's own client."""
    changes = words.promote is not None or words.delete is not None
    if not (changes and create_only.needs_session(words.path)):
        yield
        return
    with session_of_a_run("gmm_spark versions"):
        yield


def main(argv: Sequence[str], prog: str = "gmm-spark versions") -> int:
    """List or change versions by these words of a command line; the exit code."""
    try:
        words = _words(argv, prog)
        with _session_for(words):
            print(versions(words.path, words), flush=True)
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    except GmmError as error:
        return say(error)
    except OSError as error:
        return say(ConfigurationError(f"path: {words.path} cannot be read or changed: {error}"))
    return DONE
