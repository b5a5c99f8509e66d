"""Row groups of Parquet files, read by the tasks themselves.

Runs on executors: imports numpy and pyarrow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gmm_spark.engine.blocks import Block, Roles, TaskProblemError
from gmm_spark.engine.columns import stacked, weighted_rows


@dataclass(frozen=True)
class FileVersion:
    """A file as it was when the fit began."""

    path: str
    size: int
    modified: int | None  # nanoseconds
    partition: tuple[tuple[str, Any], ...] = ()  # hive keys of the path


@dataclass(frozen=True)
class RowGroups:
    """Part of a task: row groups of one file."""

    file: FileVersion
    groups: tuple[int, ...]


# Batches of this size: one a row group where that is small, which saves cutting it up.
_BATCH_BYTES = 8 << 20


@dataclass(frozen=True)
class RowGroupReader:
    """Reads columns of the row groups of the tasks whose numbers it is sent."""

    filesystem: Any
    tasks: tuple[tuple[RowGroups, ...], ...]
    names: tuple[str, ...]
    filter: Any = None
    filter_columns: tuple[str, ...] = ()
    # Of columns in the table: what they are where a file lacks them, or has them without a type.
    types: Mapping[str, pa.DataType] = field(default_factory=dict)

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = (number for batch in batches for number in batch.column(0).to_pylist())
        return self.of_tasks(self.tasks[number] for number in numbers)

    def of_tasks(self, tasks: Iterable[tuple[RowGroups, ...]]) -> Iterator[pa.RecordBatch]:
        for task in tasks:
            for part in task:
                yield from self._read(part)

    def _read(self, part: RowGroups) -> Iterator[pa.RecordBatch]:
        file = part.file
        info = self.filesystem.get_file_info(file.path)
        if info.size != file.size or info.mtime_ns != file.modified:
            raise TaskProblemError(
                f"{file.path} changed while it was being read: it had {file.size} bytes, now "
                f"{'it is gone' if info.size is None else f'{info.size}'}; run the job again"
            )
        names = list(dict.fromkeys([*self.names, *self.filter_columns]))
        partition = dict(file.partition)
        # From afar, a row group is fetched at once: a column after the other is a wait each.
        far = self.filesystem.type_name != "local"
        with self.filesystem.open_input_file(file.path) as stream:
            parquet = pq.ParquetFile(stream, pre_buffer=far)
            present = set(parquet.schema_arrow.names)
            absent = [name for name in names if name not in present and name not in partition]
            unknown = [name for name in absent if name not in self.types]
            if unknown:
                raise TaskProblemError(f"{file.path} has no column {unknown[0]!r}")
            stored = [name for name in names if name in present and name not in partition]
            rows = max(1024, _BATCH_BYTES // (8 * len(names)))
            fetched = [[group] for group in part.groups] if far else [list(part.groups)]
            batches = chain.from_iterable(
                parquet.iter_batches(rows, row_groups=groups, columns=stored, use_threads=False)
                for groups in fetched
            )
            for batch in _readable(batches, file.path):
                for name in names:
                    if name in partition:
                        value = pa.scalar(partition[name], self.types.get(name))
                        batch = batch.append_column(name, pa.repeat(value, batch.num_rows))
                for name in absent:
                    batch = batch.append_column(name, pa.nulls(batch.num_rows, self.types[name]))
                batch = self._typed(batch)
                if self.filter is not None:
                    table = pa.Table.from_batches([batch]).filter(self.filter)
                    batch = table.combine_chunks().to_batches()[0] if table.num_rows else None
                if batch is not None and batch.num_rows:
                    yield batch.select(list(self.names))

    def _typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A column of nulls without a type has that of the other files."""
        pairs = zip(batch.schema.names, batch.schema.types, strict=True)
        for place, (name, kind) in enumerate(pairs):
            wanted = self.types.get(name, kind)
            if pa.types.is_null(kind) and wanted != kind:
                batch = batch.set_column(place, name, pa.nulls(batch.num_rows, wanted))
        return batch


def _readable(batches: Iterable[pa.RecordBatch], path: str) -> Iterator[pa.RecordBatch]:
    """The batches of a file, which is named where one cannot be read."""
    try:
        yield from batches
    except OSError as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise OSError(
            f"{path} cannot be read as Parquet: it is damaged, or its store does not answer ({why})"
        ) from None


@dataclass(frozen=True)
class TableRows:
    """The rows of a task's row groups in columns of given types, for `mapInArrow`."""

    reader: RowGroupReader
    types: pa.Schema  # of the first columns of the reader; others stay as they are

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in self.reader(batches):
            arrays = list(batch.columns)
            for index, kind in enumerate(self.types.types):
                if arrays[index].type != kind:
                    arrays[index] = arrays[index].cast(kind)
            yield pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])


@dataclass(frozen=True)
class ParquetReader:
    """Blocks of the row groups a task is sent the numbers of."""

    rows: RowGroupReader
    roles: Roles

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Block]:
        return self._blocks(self.rows(batches))

    def of_tasks(self, tasks: Iterable[tuple[RowGroups, ...]]) -> Iterator[Block]:
        return self._blocks(self.rows.of_tasks(tasks))

    def _blocks(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Block]:
        weightless, weight = 0, self.roles.place("weight")
        for batch in batches:
            if weight is not None:
                batch, weightless = weighted_rows(batch, weight)
            # By place: a column may stand in two roles.
            values, nulls = stacked(batch.columns, batch.num_rows, self.roles.encoders)
            yield Block(values, nulls, self.roles, weightless=weightless)
