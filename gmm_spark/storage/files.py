"""Files and directories by path or URI, wherever pyarrow reaches."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from pyarrow import fs
from pyspark.sql import SparkSession

from gmm_spark.engine.addresses import address, has_scheme
from gmm_spark.engine.cluster import default_filesystem
from gmm_spark.errors import ConfigurationError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# File systems as pyarrow calls them: of a disk, and HDFS.
_RENAMING = "local", "hdfs"


def qualified(spark: SparkSession, path: str) -> str:
    """`path` with nothing left to the working directory or to the cluster's default file system.

    Spark reads a path without a scheme from its default file system, pyarrow from the local
    disk. On a cluster these differ, so the scheme is written out.
    """
    if has_scheme(path):
        return path
    default = default_filesystem(spark)
    if default.startswith("file:"):
        return os.path.abspath(path)
    if not path.startswith("/"):
        raise ConfigurationError(
            f"path: found {path!r}, relative; expected an absolute path or URI, the default "
            f"file system is {default}"
        )
    return default.rstrip("/") + path


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI, and the path within it, whatever characters it has.

    Raises ConfigurationError when pyarrow has no way to the store.
    """
    try:
        where = address(uri)
    except ConfigurationError as error:
        raise ConfigurationError(f"path: {error}") from None
    return where.filesystem, where.path


def reachable(uri: str) -> bool:
    """Whether pyarrow has a way to the store (the file itself may be missing)."""
    try:
        filesystem(uri)
    except ConfigurationError:
        return False
    return True


def join(uri: str, *names: str) -> str:
    return "/".join([uri.rstrip("/"), *names])


def exists(uri: str) -> bool:
    return _info(uri).type != fs.FileType.NotFound


def is_file(uri: str) -> bool:
    return bool(_info(uri).type == fs.FileType.File)


def _info(uri: str) -> Any:
    system, path = filesystem(uri)
    return system.get_file_info(path)


def names(uri: str) -> list[str]:
    """Names of what lies directly in a directory, sorted; none if there is no directory."""
    system, path = filesystem(uri)
    entries = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(entry.base_name for entry in entries)


def make_directory(uri: str) -> None:
    system, path = filesystem(uri)
    system.create_dir(path, recursive=True)


def delete(uri: str) -> None:
    """Delete a file or a directory with all that is in it; nothing if there is none."""
    system, path = filesystem(uri)
    kind = system.get_file_info(path).type
    if kind == fs.FileType.Directory:
        system.delete_dir(path)
    elif kind != fs.FileType.NotFound:
        system.delete_file(path)


def move(source: str, target: str) -> None:
    """Rename a file or directory of a store that can (`can_rename`), over a file that is there."""
    system, path = filesystem(source)
    _, to = filesystem(target)
    system.move(path, to)


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """One process at a time, of those that lock the directory; a process that is killed holds
    nothing. Only where the file system has locks of directories: of a disk, not HDFS."""
    system, path = filesystem(directory)
    descriptor = None
    if fcntl is not None and isinstance(system, fs.LocalFileSystem):
        descriptor = os.open(path, os.O_RDONLY)
    try:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def can_rename(uri: str) -> bool:
    """Whether the store renames a directory in one step: object stores would copy file by file."""
    system, _ = filesystem(uri)
    return str(system.type_name) in _RENAMING


def read_text(uri: str) -> str:
    return read_bytes(uri).decode("utf-8")


def read_bytes(uri: str) -> bytes:
    system, path = filesystem(uri)
    with system.open_input_stream(path, compression=None) as stream:
        return bytes(stream.read())


def write_text(uri: str, text: str) -> None:
    """Write a file whole or not at all."""
    if not can_rename(uri):  # an object is there when all of it is
        write_bytes(uri, text.encode("utf-8"))
        return
    temporary = join(uri.rsplit("/", 1)[0], f"_{PurePosixPath(uri).name}.tmp")
    try:
        write_bytes(temporary, text.encode("utf-8"))
        move(temporary, uri)
    except BaseException:
        with contextlib.suppress(OSError):
            delete(temporary)
        raise


def write_bytes(uri: str, content: bytes) -> None:
    """Write a file where it is; of a file system, readers may see a part of it meanwhile."""
    system, path = filesystem(uri)
    with system.open_output_stream(path, compression=None) as stream:
        stream.write(content)


def contents(uri: str) -> dict[str, int]:
    """Every file below a directory, by its path from there, and its size in bytes."""
    system, path = filesystem(uri)
    root = path.rstrip("/") + "/"
    entries = system.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
    return {
        str(entry.path).removeprefix(root): int(entry.size)
        for entry in sorted(entries, key=lambda entry: str(entry.path))
        if entry.type == fs.FileType.File
    }
