"""The command `gmm-spark`: the name of a job, then its settings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from gmm_spark import __version__
from gmm_spark.cli import versions
from gmm_spark.config import JOBS
from gmm_spark.config.messages import suggestion
from gmm_spark.errors import ConfigurationError
from gmm_spark.runs.exit_codes import CONFIGURATION, DONE, say

_HELP = """usage: {prog} JOB --config FILE [--KEY VALUE ...]

{jobs}

{prog} JOB --help lists the settings of a job.
{prog} versions PATH lists the versions that were published there, and changes which one counts.
{prog} --version says which release this is.
Exit codes: 0 done, 1 unexpected, 2 a setting is wrong, 3 the data or the model cannot be used,
4 did not converge, where that is to fail, 5 written but not published, 143 stopped by SIGTERM."""
_VERSIONS = "versions"


def main(argv: Sequence[str] | None = None, prog: str = "gmm-spark") -> int:
    """Run the job that the first word names, by the words after it; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words else ""
    if name in ("--help", "-h"):
        print(_help(prog))
        return DONE
    if name == "--version":
        print(f"gmm-spark {__version__}")
        return DONE
    if name in JOBS:
        job = import_module(f"gmm_spark.cli.{name}")
        return int(job.main(words[1:], f"{prog} {name}"))
    if name == _VERSIONS:
        return versions.main(words[1:], f"{prog} {name}")
    if not words:
        print(_help(prog), file=sys.stderr)
        return CONFIGURATION
    return say(ConfigurationError(f"{name}: unknown job{suggestion(name, [*JOBS, _VERSIONS])}"))


def _help(prog: str) -> str:
    width = max(map(len, JOBS))
    jobs = [f"  {name:<{width}}  {kind.__doc__}" for name, kind in JOBS.items()]
    return _HELP.format(prog=prog, jobs="\n".join(jobs))
