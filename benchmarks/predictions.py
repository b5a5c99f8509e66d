"""What mixture regression is worth, `model.predictColumns`: `python -m benchmarks.predictions`.

A curve that no straight line is near to, drawn with noise, as a picture in docs/; and columns of
the sample customers given others, on customers that were not fitted, beside column means and a
linear regression.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.processes import ROOT
from benchmarks.records import RESULTS, machine
from benchmarks.systems.spark import session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PICTURE = ROOT / "docs" / "mixture-regression.svg"
COLUMNS = ("tenure", "monthly_charges", "log_total_charges")
NOISE, ROWS, K_OF_CURVE, K_OF_CUSTOMERS = 0.2, 2000, 8, 8


def curve(x: np.ndarray) -> np.ndarray:
    """The mean of y given x."""
    return np.sin(1.5 * x) + 0.1 * x


def line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients of the linear regression of y (n,) on x (n, d), the constant last."""
    return np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]


def error(found: np.ndarray, truth: np.ndarray) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.mean((found - truth) ** 2)))


def of_curve(spark: SparkSession) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """Errors of the two against the curve itself; the rows drawn; and the predictions."""
    from gmm_spark import GaussianMixture

    rng = np.random.default_rng(5)
    x = rng.uniform(-3, 3, ROWS)
    drawn = pd.DataFrame({"x": x, "y": curve(x) + NOISE * rng.normal(size=ROWS)})
    grid = pd.DataFrame({"x": np.linspace(-2.9, 2.9, 117)})
    mixture = GaussianMixture(k=K_OF_CURVE, inputCols=["x", "y"], seed=1)
    model = mixture.fit(spark.createDataFrame(drawn))
    found = model.predictColumns(spark.createDataFrame(grid), "y", "x").toPandas()
    found = found.sort_values("x", ignore_index=True)
    slope, constant = line(drawn[["x"]].to_numpy(), drawn["y"].to_numpy())
    found["line"] = constant + slope * found["x"]
    found["truth"] = curve(found["x"].to_numpy())
    errors = {
        "rows": ROWS,
        "k": K_OF_CURVE,
        "noise": NOISE,
        "mixture": error(found["y_mean"], found["truth"]),
        "linear_regression": error(found["line"], found["truth"]),
        "mean_sd": float(found["y_sd"].mean()),
    }
    return errors, drawn, found


def of_customers(spark: SparkSession) -> dict[str, Any]:
    """Errors on the half of the sample customers that was not fitted, each column given the other
    two."""
    from gmm_spark import GaussianMixture

    rows = pd.read_parquet(ROOT / "sample" / "telco_churn").sort_values("customer_id")
    rows["log_total_charges"] = np.log1p(rows["total_charges"])
    rows = rows[list(COLUMNS)].astype(float).dropna()
    rows = rows.sample(frac=1, random_state=1, ignore_index=True)
    fitted, others = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    mixture = GaussianMixture(k=K_OF_CUSTOMERS, inputCols=list(COLUMNS), seed=1)
    model = mixture.fit(spark.createDataFrame(fitted))
    found: dict[str, Any] = {"fitted": len(fitted), "held_out": len(others), "k": K_OF_CUSTOMERS}
    for target in COLUMNS:
        given = [name for name in COLUMNS if name != target]
        numbered = others.assign(row=np.arange(len(others)))
        predicted = model.predictColumns(spark.createDataFrame(numbered), target, given)
        mean = predicted.toPandas().sort_values("row")[f"{target}_mean"].to_numpy()
        truth = others[target].to_numpy()
        *slopes, constant = line(fitted[given].to_numpy(), fitted[target].to_numpy())
        found[target] = {
            "column_mean": error(np.full(len(truth), fitted[target].mean()), truth),
            "linear_regression": error(others[given].to_numpy() @ slopes + constant, truth),
            "mixture": error(mean, truth),
        }
    return found


def drawn_as_svg(drawn: pd.DataFrame, found: pd.DataFrame) -> str:
    """The picture: rows, the curve, the line, and the mixture's mean with two deviations."""
    import altair as alt
    import vl_convert

    band = found.assign(low=found["y_mean"] - 2 * found["y_sd"])
    band["high"] = found["y_mean"] + 2 * found["y_sd"]
    names = ["the curve", "mixture", "linear regression"]
    means = pd.concat(
        [
            pd.DataFrame({"x": found["x"], "y": found[column], "what": name})
            for name, column in zip(names, ["truth", "y_mean", "line"], strict=True)
        ]
    )
    some = drawn.iloc[:: ROWS // 500]
    # Okabe and Ito's colours, which the colour-blind tell apart; the strokes say it again.
    colours = alt.Scale(domain=names, range=["#000000", "#0072B2", "#D55E00"])
    strokes = alt.Scale(domain=names, range=[[2, 3], [1, 0], [8, 4]])
    picture = alt.layer(
        alt.Chart(some).mark_circle(size=9, color="#999999", opacity=0.6).encode(x="x", y="y"),
        alt.Chart(band).mark_area(color="#0072B2", opacity=0.18).encode(x="x", y="low", y2="high"),
        alt.Chart(means)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("x", title="x"),
            y=alt.Y("y", title="y"),
            color=alt.Color("what", title=None, scale=colours),
            strokeDash=alt.StrokeDash("what", title=None, scale=strokes),
        ),
    ).properties(width=520, height=280, background="white")
    text = json.dumps(picture.to_dict())
    return str(vl_convert.vegalite_to_svg(text))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with session(1, "1g") as spark:
        errors, drawn, found = of_curve(spark)
        arguments.picture.write_text(drawn_as_svg(drawn, found.round(4)))
        result = {
            "benchmark": "predictions",
            "command": "python -m benchmarks.predictions",
            "machine": machine(1),
            "curve": errors,
            "customers": of_customers(spark),
        }
    (arguments.out / "predictions.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: result[key] for key in ("curve", "customers")}, indent=1))


if __name__ == "__main__":
    main()
