"""Customers drawn at random, as many as wanted: 12 columns, 3 of them categories, and a churn.

Six kinds of customers differ in tenure, bill, use and plan, and in how many of them leave; a
thousandth of the cells of three columns is missing. The same rows every time, file by file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_FILE = 250_000
ROWS_PER_GROUP = 125_000
_SHARES = np.array([0.30, 0.22, 0.18, 0.14, 0.10, 0.06])
_CHURN = np.array([0.05, 0.12, 0.45, 0.30, 0.03, 0.60])
_TENURE = np.array([60.0, 30.0, 4.0, 14.0, 65.0, 2.0])
_BILL = np.array([45.0, 80.0, 60.0, 95.0, 110.0, 25.0])
_GIGABYTES = np.array([4.0, 25.0, 12.0, 40.0, 60.0, 1.0])
_CALLS = np.array([0.3, 1.0, 2.5, 4.0, 0.8, 1.5])
_PLANS = ("prepaid", "monthly", "yearly", "two years")
_PLAN = np.array(
    [
        [0.02, 0.18, 0.40, 0.40],
        [0.05, 0.55, 0.30, 0.10],
        [0.30, 0.65, 0.05, 0.00],
        [0.05, 0.85, 0.08, 0.02],
        [0.00, 0.10, 0.35, 0.55],
        [0.80, 0.20, 0.00, 0.00],
    ]
)
_PAYMENTS = ("card", "transfer", "cheque", "wallet", "invoice")
_REGIONS = tuple(f"region {i:02}" for i in range(12))


def write_customers(rows: int, directory: Path) -> Path:
    """Write so many customers under the directory, where they are not there yet; the table."""
    path = directory / f"customers-{rows}"
    if path.exists():
        return path
    partial = directory / f"customers-{rows}.partial"
    partial.mkdir(parents=True)
    for number, start in enumerate(range(0, rows, ROWS_PER_FILE)):
        table = _customers(start, min(ROWS_PER_FILE, rows - start), number)
        pq.write_table(table, partial / f"part-{number:04}.parquet", row_group_size=ROWS_PER_GROUP)
    partial.rename(path)
    return path


def _customers(first: int, rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng([7, seed])
    kind = rng.choice(_SHARES.size, size=rows, p=_SHARES)
    tenure = np.minimum(np.round(rng.gamma(6.0, _TENURE[kind] / 6.0)), 120.0)
    bill = np.round(_BILL[kind] * rng.lognormal(0, 0.2, rows), 2)
    gigabytes = np.round(_GIGABYTES[kind] * rng.lognormal(0, 0.6, rows), 2)
    plan = (_PLAN[kind].cumsum(axis=1) < rng.random(rows)[:, None]).sum(axis=1)
    columns = {
        "customer": np.arange(first, first + rows),
        "tenure_months": tenure,
        "monthly_bill": bill,
        "gigabytes": _gaps(gigabytes, rng),
        "minutes": _gaps(np.round(rng.gamma(2.0, 30 + 2 * _BILL[kind])), rng),
        "calls_to_service": rng.poisson(_CALLS[kind]),
        "days_since_login": np.round(rng.exponential(3 + 20 * _CHURN[kind])),
        "discount": np.round(rng.beta(1.5, 8 + 10 * (1 - _CHURN[kind])), 3),
        "devices": 1 + rng.poisson(_GIGABYTES[kind] / 25),
        "satisfaction": _gaps(np.clip(rng.normal(8 - 5 * _CHURN[kind], 1.5), 0, 10).round(1), rng),
        "plan": np.array(_PLANS)[np.minimum(plan, len(_PLANS) - 1)],
        "payment": np.array(_PAYMENTS)[(kind + rng.geometric(0.6, rows)) % len(_PAYMENTS)],
        "region": np.array(_REGIONS)[rng.integers(len(_REGIONS), size=rows)],
        "left": rng.random(rows) < _CHURN[kind],
    }
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})


def _gaps(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(values.size) < 0.001, np.nan, values)
