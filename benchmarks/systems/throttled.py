"""A file system as far away as an object store: a wait a request, and a limit to each stream."""

from __future__ import annotations

import io
import time
from typing import Any

import pyarrow as pa
from pyarrow import fs

LATENCY = 0.03  # seconds a request
BANDWIDTH = 50e6  # bytes a second and stream


class _SlowFile(io.RawIOBase):
    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        found = self._file.read(size)
        time.sleep(LATENCY + len(found) / BANDWIDTH)
        return found

    def close(self) -> None:
        self._file.close()
        super().close()


class Throttled(fs.FileSystemHandler):
    """The local disk, from afar; only for reading."""

    def get_type_name(self) -> str:
        return "throttled"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        time.sleep(LATENCY)
        return fs.LocalFileSystem().get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        time.sleep(LATENCY)
        return fs.LocalFileSystem().get_file_info(selector)

    def open_input_file(self, path: str) -> Any:
        return pa.PythonFile(_SlowFile(path), mode="r")

    def open_input_stream(self, path: str) -> Any:
        return self.open_input_file(path)

    def _refused(self, *_: Any) -> Any:
        raise NotImplementedError("this file system is only read")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refused
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refused


def far_away() -> fs.FileSystem:
    """The file system itself."""
    return fs.PyFileSystem(Throttled())
