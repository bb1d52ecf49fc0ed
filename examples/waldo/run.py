"""What credible intervals of a learned posterior cover, and what Neyman intervals made of the same posterior do.

Two posteriors are trained, with a flat prior and with one that is sure of what is wrong. Of each it is counted on toys
how often the central 68 % credible interval holds the truth, and how often the 68 % interval of the ``waldo`` statistic
that toys have calibrated does.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import model
import numpy as np
from matplotlib.figure import Figure

import neyman
from neyman.model.toys import draw

HERE = Path(__file__).parent
LEVEL = 0.68
TRUTHS = (-3.0, -2.0, -1.5, -1.0, 0.0, 1.0, 2.0, 3.0)
QUICK = {"steps": 600, "flow_steps": 300, "datasets": 20_000}  # of one number from 25: enough, in half a minute


def measured(prior: str, toys: int, seed: int) -> dict[str, Any]:
    """Return coverage and lengths of both kinds of intervals, with a prior of ``model``."""
    simulator, path, begin = getattr(model, prior), HERE / f"{prior}.posterior", time.process_time()
    if not path.exists():
        neyman.train_posterior(simulator, QUICK, seed=seed, workers=1).save(path)
    training = time.process_time() - begin
    posterior = neyman.Posterior.load(path)
    implied = posterior.model(simulator)
    begin = time.process_time()
    coverage = neyman.coverage(
        implied, [{"theta": truth} for truth in TRUTHS], LEVEL, n_toys=toys, seed=seed, test_stat="waldo",
        statistic=posterior,
    )  # fmt: skip
    seconds = time.process_time() - begin
    credible = [_credible(posterior, implied, truth, toys, seed) for truth in TRUTHS]
    observed = simulator.draw([1.0], seed=1)
    data = implied.data(neyman.Ensemble({"events": observed}))
    [[low, high]] = neyman.interval(data, implied, LEVEL, test_stat="waldo", statistic=posterior, seed=seed).intervals
    draws = posterior.sample(observed, seed=seed)["theta"]
    return {
        "prior": prior,
        "coverage": coverage.coverage.tolist(),
        "error": coverage.error.tolist(),
        "credible": credible,
        "observed mean": float(observed.features.mean()),
        "interval": [low, high],
        "credible interval": np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]).tolist(),
        "training [s]": training,
        "coverage [s]": seconds,
    }


def _credible(posterior: neyman.Posterior, implied: neyman.Model, truth: float, toys: int, seed: int) -> float:
    """Return how often the central credible interval holds the truth."""
    thrown = draw([truth], implied, toys, seed=seed).events["events"]
    draws = posterior.sample_many(posterior.encode_many(thrown.features, thrown.offsets), 400, seed)[:, :, 0]
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=1)
    return float(np.mean((low < truth) & (truth < high)))


def drawn(results: list[dict[str, Any]]) -> Figure:
    """Return the figure: coverage against the truth, a panel for each prior."""
    figure, panels = plt.subplots(1, len(results), figsize=(8, 3.4), sharey=True, layout="constrained")
    for panel, found in zip(panels, results, strict=True):
        panel.axhline(LEVEL, color="0.6", linewidth=1)
        panel.errorbar(TRUTHS, found["coverage"], found["error"], fmt="o", label="Neyman, waldo statistic")
        panel.plot(TRUTHS, found["credible"], "s--", mfc="none", label="credible")
        panel.set(xlabel="true theta", title=f"{found['prior']} prior", ylim=(0, 1.02))
    panels[0].set_ylabel("coverage of 68 % intervals")
    panels[0].legend(loc="lower left")
    return figure


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=1000, help="at each truth")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=HERE / "coverage.png")
    options = parser.parse_args()
    results = [measured(prior, options.toys, options.seed) for prior in ("flat", "wrong")]
    drawn(results).savefig(options.figure, dpi=150)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
