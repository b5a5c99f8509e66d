"""Makes the pictures of the documentation, in docs/pictures.

    python docs/pictures.py page output/telco_churn/report.html   # of the page that make run writes
    python docs/pictures.py mixtures                              # two clusters with one mean, EM

It needs the environment of make setup, pip install pillow, and for the page chromium.
"""

from __future__ import annotations

import argparse
import io
import itertools
import shutil
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert
from PIL import Image
from sklearn.cluster import KMeans

from gmm_spark.mixture.divisions import adjusted_rand_index
from gmm_spark.mixture.parameters import Parameters
from gmm_spark.mixture.spec import Spec
from gmm_spark.mixture.structures import structure_named
from gmm_spark.training import fit_arrays

PICTURES = Path(__file__).parent / "pictures"
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00"]
# Of the page: width and height of the window.
WINDOWS = {"wide": (1280, 920), "narrow": (390, 844)}
# Of the gallery: a chart's section, and which of its charts it is.
GALLERY = {
    "outcomes": ("outcomes", 0),
    "value": ("outcomes", 1),
    "map": ("map", 0),
    "numbers": ("profile", 0),
    "shares": ("profile", 1),
    "distribution": ("distributions", 1),
    "category": ("distributions", 2),
    "membership": ("membership", 0),
    "mixing": ("membership", 1),
    "choice": ("choice", 0),
    "kmeans": ("kmeans", 0),
    "passes": ("fit", 0),
}
# Two thirds of a normal distribution in two dimensions are within so many standard deviations.
TWO_THIRDS = float(np.sqrt(-2 * np.log(1 / 3)))


def saved(png: bytes, name: str, quality: int = 80) -> None:
    """A picture as WebP, whose size is printed."""
    path = PICTURES / f"{name}.webp"
    Image.open(io.BytesIO(png)).convert("RGB").save(path, quality=quality, method=6)
    print(f"{path.relative_to(PICTURES.parent.parent)}: {path.stat().st_size / 1000:.0f} kB")


def page(report: Path) -> None:
    """The first screen in both widths and schemes, and every kind of chart."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, (across, down) in WINDOWS.items():
            for scheme in ("light", "dark"):
                shown = browser.new_page(
                    viewport={"width": across, "height": down},
                    color_scheme=scheme,
                )
                shown.goto(report.resolve().as_uri())
                shown.wait_for_function("() => document.querySelector('.chart[data-drawn]')")
                saved(shown.screenshot(), f"page-{width}-{scheme}")
                if width == "wide" and scheme == "light":
                    gallery(shown)
        browser.close()


def gallery(shown: Any) -> None:
    for name, (section, place) in GALLERY.items():
        charts = shown.locator(f"#{section} .chart")
        if charts.count() <= place:
            print(f"{name}: this page has no such chart")
            continue
        chart = charts.nth(place)
        chart.scroll_into_view_if_needed()
        shown.wait_for_timeout(500)
        saved(chart.screenshot(), f"chart-{name}")


def ellipse(mean: Any, covariance: Any) -> Any:
    """Points around two thirds of a component."""
    turn = np.linspace(0, 2 * np.pi, 61)
    circle = np.vstack([np.cos(turn), np.sin(turn)])
    return mean[:, None] + TWO_THIRDS * np.linalg.cholesky(covariance) @ circle


def nearest(values: Any, parameters: Parameters) -> Any:
    """The most probable component of every column of `values`."""
    found = []
    for weight, mean, covariance in zip(
        parameters.weights, parameters.means, parameters.dense_covariances(), strict=True
    ):
        away = values - mean[:, None]
        distance = np.sum(away * np.linalg.solve(covariance, away), axis=0)
        found.append(np.log(weight) - 0.5 * (np.linalg.slogdet(covariance)[1] + distance))
    return np.argmax(found, axis=0)


def scatter(
    values: Any, labels: Any, parameters: Parameters | None, title: str, reach: float, size: int
) -> Any:
    """Points in the colours of their clusters, with ellipses of a mixture."""
    points = [
        {"x": float(x), "y": float(y), "cluster": int(label)}
        for (x, y), label in zip(values.T.round(3), labels, strict=True)
    ]
    domain = alt.Scale(domain=[-reach, reach])
    blank = alt.Axis(labels=False, ticks=False, grid=False, title=None, domain=False)
    colour = alt.Color(
        "cluster:N", scale=alt.Scale(domain=list(range(5)), range=COLOURS), legend=None
    )
    layers = [
        alt.Chart(alt.Data(values=points))
        .mark_circle(size=14, opacity=0.55, clip=True)
        .encode(
            x=alt.X("x:Q", scale=domain, axis=blank),
            y=alt.Y("y:Q", scale=domain, axis=blank),
            color=colour,
        )
    ]
    if parameters is not None:
        rows = [
            {"x": float(x), "y": float(y), "cluster": i, "order": j}
            for i, (mean, covariance) in enumerate(
                zip(parameters.means, parameters.dense_covariances(), strict=True)
            )
            for j, (x, y) in enumerate(ellipse(mean, covariance).T)
        ]
        line = alt.Chart(alt.Data(values=rows)).encode(
            x="x:Q", y="y:Q", order="order:Q", detail="cluster:N"
        )
        layers += [
            line.mark_line(color="#ffffff", strokeWidth=5, clip=True),
            line.mark_line(strokeWidth=2.5, clip=True).encode(color=colour),
        ]
    head = alt.TitleParams(title, fontSize=14, fontWeight="normal", anchor="start")
    return alt.layer(*layers).properties(width=size, height=size, title=head)


def png(chart: Any, scale: float = 1.0) -> bytes:
    drawn = chart.configure(background="#ffffff", padding=10).configure_view(stroke="#d5dae0")
    found: bytes = vl_convert.vegalite_to_png(drawn.to_dict(), vl_version="6.4", scale=scale)
    return found


def one_mean() -> None:
    """Two clusters with one mean: k-means cuts both in two, a mixture finds them."""
    draw = np.random.default_rng(3)
    truth = np.repeat([0, 1], 400)
    long, short = 2.2, 0.22
    values = draw.normal(size=(2, truth.size)) * np.where(
        truth, [[short], [long]], [[long], [short]]
    )
    by_means = KMeans(2, n_init=20, random_state=0).fit_predict(values.T)
    parameters = fit_arrays(values, Spec(k=2, seed=0)).parameters
    by_mixture = nearest(values, parameters)
    panels = [scatter(values, truth, None, "two clusters with one mean", 6, 250)]
    for labels, found, name in [
        (by_means, None, "k-means"),
        (by_mixture, parameters, "Gaussian mixture"),
    ]:
        index = adjusted_rand_index(truth, labels)
        panels.append(
            scatter(values, labels, found, f"{name}: adjusted Rand index {index:.2f}", 6, 250)
        )
    saved(png(alt.hconcat(*panels)), "one-mean", 85)


def iterations() -> None:
    """Ellipses that find their clusters, as a GIF."""
    draw = np.random.default_rng(5)
    means = np.array([[-3.0, 2.5], [2.8, 2.6], [0.2, 0.0], [-2.6, -2.6], [3.0, -2.4]])
    spreads = np.array([[0.9, 0.5], [0.45, 1.1], [0.35, 0.35], [0.5, 0.9], [1.2, 0.35]])
    turns = np.array([0.6, -0.3, 0.0, 0.5, 0.4])
    truth = np.repeat(range(5), [220, 180, 150, 200, 170])
    cos, sin = np.cos(turns[truth]), np.sin(turns[truth])
    x, y = draw.normal(size=(2, truth.size)) * spreads[truth].T
    values = np.vstack([cos * x - sin * y, sin * x + cos * y]) + means[truth].T
    start = Parameters(
        structure_named("full"),
        np.full(5, 0.2),
        draw.normal(scale=0.7, size=(5, 2)),
        np.tile(4.0 * np.eye(2), (5, 1, 1)),
    )
    spec = Spec(k=5, initial_model=start, acceleration="none", tol=1e-5, max_iter=200)
    found = fit_arrays(values, spec)
    steps = [one.parameters.restored(found.columns.standardisation) for one in found.fit.history]
    index = adjusted_rand_index(truth, nearest(values, steps[-1]))
    print(f"{len(steps)} iterations, adjusted Rand index {index:.2f}")
    # Frames where something moves: as far from the one before as the whole way by their number.
    moved = [np.abs(later.means - one.means).max() for one, later in itertools.pairwise(steps)]
    way = np.concatenate([[0.0], np.cumsum(moved)])
    kept = sorted({int(np.searchsorted(way, at)) for at in np.linspace(0, way[-1], 36)})
    frames = []
    for i in kept:
        name = f"EM, iteration {i}"
        drawn = scatter(values, nearest(values, steps[i]), steps[i], name, 6, 380)
        frames.append(Image.open(io.BytesIO(png(drawn))).convert("RGB"))
    palette = frames[0].quantize(128)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    path = PICTURES / "iterations.gif"
    times = [700, *(140 for _ in small[1:-1]), 2500]
    small[0].save(path, save_all=True, append_images=small[1:], duration=times, loop=0)
    print(f"{path.name}: {len(small)} frames, {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("page").add_argument("report", type=Path)
    commands.add_parser("mixtures")
    given = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    if given.command == "page":
        page(given.report)
    else:
        one_mean()
        iterations()


if __name__ == "__main__":
    main()
