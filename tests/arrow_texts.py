"""The types of text that the pyarrow of these tests writes to Parquet."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq


def written_texts() -> list[pa.DataType]:
    """Plain and large text, and where pyarrow writes them (16 does not) views."""
    found = [pa.string(), pa.large_string()]
    try:
        pq.write_table(pa.table({"c": pa.array(["x"], pa.string_view())}), io.BytesIO())
    except pa.ArrowNotImplementedError:
        return found
    return [*found, pa.string_view()]
