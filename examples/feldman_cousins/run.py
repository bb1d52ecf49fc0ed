"""Reproduce the tables of Feldman and Cousins: ``python run.py [--toys 20000] [--learned 100000]``; prints them."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from tables import PUBLISHED, counting, counting_interval, gaussian, gaussian_interval

import neyman
from neyman.results import rounded

MEASUREMENTS = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.1)
LEVELS = (0.6827, 0.90, 0.95, 0.99)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in reStructuredText."""
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    rule = " ".join("=" * width for width in widths)
    lines = [" ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in [header, *rows]]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def compare(result: Any, exact: tuple[float, float]) -> tuple[str, list[float]]:
    """Return the hull of an interval as a text, and the pulls of its ends."""
    ends = result.intervals[0][0], result.intervals[-1][1]
    errors = result.errors[0][0], result.errors[-1][1]
    texts = [
        " ± ".join(rounded(end, error)) if error > 0 else f"{end:.2f}" for end, error in zip(ends, errors, strict=True)
    ]
    pulls = [(end - true) / error for end, true, error in zip(ends, exact, errors, strict=True) if error > 0]
    return ", ".join(texts), pulls


def measure(
    model: Any, cases: list[tuple[Any, float, tuple[float, float]]], toys: int, critical: Any, title: str
) -> list:
    """Return exact interval and both constructions' of every case, as texts; print how well they agree."""
    rows = []
    for name, options in (
        ("toys", {"n_toys": toys}),
        ("quantile", {"calibration": "quantile", "critical": critical}),
    ):
        start, column, pulls, differences = time.perf_counter(), [], [], []
        for seed, (data, level, exact) in enumerate(cases):
            result = neyman.interval(data, model, level, seed=seed, **options)
            text, pull = compare(result, exact)
            column.append(text)
            pulls += pull
            differences += np.abs(np.array([result.intervals[0][0], result.intervals[-1][1]]) - exact).tolist()
        rows.append(column)
        seconds = (time.perf_counter() - start) / len(cases)
        print(
            f"{title}, {name}: {len(pulls)} ends, pulls {np.sqrt(np.mean(np.square(pulls))):.2f} r.m.s., "
            f"{np.max(np.abs(pulls)):.1f} the largest; largest difference {max(differences):.2f}; "
            f"{seconds:.2f} s an interval"
        )
    return list(zip([f"{low:.2f}, {high:.2f}" for _, _, (low, high) in cases], *rows, strict=True))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=20_000, help="of a tested value, at most")
    parser.add_argument("--learned", type=int, default=100_000, help="toys that critical values are learned from")
    options = parser.parse_args()

    start = time.perf_counter()
    critical = [
        neyman.critical_values(model, poi_range=(0.0, high), n_toys=options.learned, level=0.99)
        for model, high in ((counting(), 20.0), (gaussian(), 9.0))
    ]
    print(f"{time.perf_counter() - start:.0f} s to learn critical values, twice\n")
    print(critical[0], critical[1], sep="\n")
    cases: list[Any] = [([float(n)], 0.9, counting_interval(n)) for n in PUBLISHED]
    rows = measure(counting(), cases, options.toys, critical[0], "counting")
    published = [f"{low:.2f}, {high:.2f}" for low, high in PUBLISHED.values()]
    first = [(str(n), text, *row) for n, text, row in zip(PUBLISHED, published, rows, strict=True)]
    cases = [([1.0, x0], level, gaussian_interval(x0, level)) for x0 in MEASUREMENTS for level in LEVELS]
    rows = measure(gaussian(), cases, options.toys, critical[1], "Gaussian")
    labels = [(f"{x0:g}", f"{100 * level:g} %") for x0 in MEASUREMENTS for level in LEVELS]
    second = [(*label, *row) for label, row in zip(labels, rows, strict=True)]
    print()
    print(table(("n", "published", "exact", "toys", "learned"), first), end="\n\n")
    print(table(("x0", "level", "exact", "toys", "learned"), second))


if __name__ == "__main__":
    main()
