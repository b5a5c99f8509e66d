"""A file that is created once, and is there only when all of it is: what a publish log is made of.

On a file system it is written under another name, which is then linked to its own: a hard link is
made in one step and never replaces. On HDFS it is renamed so, by Hadoop's own client: pyarrow's
deletes a file that is in the way. On an object store it is one conditional put, by obstore.
"""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pyarrow import fs

from gmm_spark.engine.addresses import without_userinfo
from gmm_spark.engine.cluster import needed_session, rename_new
from gmm_spark.errors import ConfigurationError
from gmm_spark.storage import files

# What a file system says that has no hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_HADOOPS = "hdfs", "viewfs"
# Options of a URI for pyarrow, as obstore calls those of S3.
_S3_OPTIONS = {
    "region": "region",
    "endpoint_override": "endpoint",
    "access_key": "access_key_id",
    "secret_key": "secret_access_key",
    "session_token": "session_token",
}
_PROBE = ".probe-"


def create(uri: str, content: bytes) -> bool:
    """Create a file; False where another one is there already, which stays as it is.

    Content that is there already, byte for byte, is taken for this call's own, whose answer was
    lost: a caller puts something of its own into it.

    Raises ConfigurationError where the store can create nothing in this way.
    """
    system, path = files.filesystem(uri)
    if isinstance(system, fs.LocalFileSystem):
        made = _link(path, content)
    elif needs_session(uri):
        made = _rename(uri, content)
    else:
        made = _put(uri, content)
    return made or files.read_bytes(uri) == content


def needs_session(uri: str) -> bool:
    """Whether a file is created there by Hadoop's own client, which a Spark session has."""
    return urlsplit(uri).scheme in _HADOOPS


def check_store(directory: str) -> None:
    """Try in a directory whether a file can be created once, and is not replaced then.

    Raises ConfigurationError where it cannot be, or would be replaced: not every store that takes
    a condition heeds it.
    """
    files.make_directory(directory)
    probe = files.join(directory, f"{_PROBE}{uuid.uuid4().hex}")
    try:
        if not create(probe, b"first") or create(probe, b"second"):
            raise ConfigurationError(
                f"output: the store of {without_userinfo(directory)} replaces a file that is to be "
                "created once only, so that of two runs both would take themselves for published; "
                "versions need another store"
            )
    finally:
        with suppress(OSError):
            files.delete(probe)


def _link(path: str, content: bytes) -> bool:
    directory, name = os.path.split(path)
    os.makedirs(directory, exist_ok=True)
    temporary = os.path.join(directory, f".{name}-{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise ConfigurationError(
            f"output: the file system of {directory} has no hard links ({error.strerror}), by "
            "which a version becomes visible in one step; versions need another one"
        ) from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    _flush(directory)
    return True


def _flush(directory: str) -> None:
    """A name is safe from a loss of power once its directory is on the disk."""
    with suppress(OSError):  # Windows opens no directories
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _rename(uri: str, content: bytes) -> bool:
    parent, _, name = uri.rpartition("/")
    files.make_directory(parent)
    temporary = files.join(parent, f".{name}-{uuid.uuid4().hex}.tmp")
    try:
        files.write_bytes(temporary, content)
        return rename_new(needed_session(), temporary, uri)
    finally:
        with suppress(OSError):
            files.delete(temporary)


def _put(uri: str, content: bytes) -> bool:
    parent, _, name = uri.partition("?")[0].rpartition("/")
    obstore = _obstore(uri)
    store = obstore.store.from_url(parent, **_options(uri))
    try:
        obstore.put(store, name, content, mode="create")
    except obstore.exceptions.AlreadyExistsError:
        return False
    return True


def _obstore(uri: str) -> Any:
    scheme = urlsplit(uri).scheme
    if scheme not in ("s3", "s3a", "gs", "az", "abfs", "abfss", "file"):
        raise ConfigurationError(
            f"output: {scheme}:// has no way by which a version becomes visible in one step and "
            "never in place of another; versions need a file system with hard links, HDFS, or an "
            "object store (s3, gs, abfs)"
        )
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError:
        raise ConfigurationError(
            f"output: versions on {scheme}:// need the package obstore, for a put on a condition: "
            "pip install 'gmm_spark[object-store]'"
        ) from None
    return obstore


def _options(uri: str) -> dict[str, Any]:
    """What the URI says of the store, beside what the environment does."""
    said = dict(parse_qsl(urlsplit(uri).query))
    found: dict[str, Any] = {_S3_OPTIONS[key]: said[key] for key in _S3_OPTIONS if key in said}
    if said.get("scheme") == "http":
        found["client_options"] = {"allow_http": True}
    return found
