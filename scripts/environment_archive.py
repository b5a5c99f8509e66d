"""gmm_spark and what it needs as an environment for `spark-submit --archives`.

    python scripts/environment_archive.py dist/gmm_spark-0.1.0-py3-none-any.whl ENVIRONMENT.tar.gz

The packages are those of this Python, in their releases, which the tests have passed with; pyspark
is left to the cluster, which has its own. The interpreter is a link to the one that this
environment was made of: the machines of the cluster need it in the same place.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OF_THE_CLUSTER = "pyspark"
_SITE_PACKAGES = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def needed(requirements: list[str]) -> dict[str, Distribution]:
    """The distributions that these requirements and those of theirs name, by name."""
    found: dict[str, Distribution] = {}
    waiting = list(requirements)
    while waiting:
        requirement = Requirement(waiting.pop())
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        name = canonicalize_name(requirement.name)
        if applies and name != OF_THE_CLUSTER and name not in found:
            found[name] = distribution(name)
            waiting += found[name].requires or []
    return found


def files_of(one: Distribution) -> Iterator[tuple[Path, str]]:
    """The files of a distribution, and where each is in the archive; its commands are left out,
    which begin with the path of an interpreter."""
    for path in one.files or []:
        if ".." not in path.parts:
            yield Path(str(one.locate_file(path))), f"{_SITE_PACKAGES}/{path}"


def without_activation(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Scripts that would activate an environment at a path where it is no more."""
    return None if "activate" in member.name.lower() else member


def write_archive(wheel: Path, archive: Path) -> None:
    with tempfile.TemporaryDirectory() as directory, zipfile.ZipFile(wheel) as package:
        environment = Path(directory) / "environment"
        venv.create(environment, symlinks=True, with_pip=False)
        package.extractall(environment / _SITE_PACKAGES)
        (metadata,) = [name for name in package.namelist() if name.endswith(".dist-info/METADATA")]
        headers = HeaderParser().parse(io.StringIO(package.read(metadata).decode("utf-8")))
        requirements = needed(headers.get_all("Requires-Dist") or [])
        # What is written under another name is never a half of an archive.
        temporary = archive.with_name(f"{archive.name}.tmp")
        with tarfile.open(temporary, "w:gz", compresslevel=1) as tar:
            tar.add(environment, arcname=".", filter=without_activation)
            for one in requirements.values():
                for path, name in files_of(one):
                    tar.add(path, arcname=name, recursive=False)
        temporary.replace(archive)


if __name__ == "__main__":
    write_archive(Path(sys.argv[1]), Path(sys.argv[2]))
