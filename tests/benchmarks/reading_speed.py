"""Reading and encoding 10^7 events: rates and peak memory. ``python reading_speed.py [--events N]``.

The files are written to a temporary folder; reading and encoding run in a process of their own, whose peak memory
(resident, with all libraries) is printed after each step.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import uproot

from neyman.events import EventSource
from neyman.inputs.sources import read
from neyman.model.calibration import LogitCalibration
from neyman.model.mixture import MixtureChannel
from neyman.model.pool import MixtureSummary, Pool
from neyman.model.variations import Variation
from neyman.networks.mixture import CrossFitClassifier
from neyman.networks.options import TrainingOptions
from neyman.networks.scaling import FeatureScaler

__all__: list[str] = []

FILES = 5
FEATURES = ("x0", "x1", "x2")


def write_files(folder: Path, events: int) -> None:
    """Write the events, shared out over the files, with a weight each."""
    rng = np.random.default_rng(0)
    for number in range(FILES):
        n = events * (number + 1) // FILES - events * number // FILES
        with uproot.recreate(folder / f"events_{number}.root") as file:
            tree = file.mktree("nominal", {**dict.fromkeys(FEATURES, "float32"), "w": "float64"})
            for begin in range(0, n, 500_000):
                size = min(500_000, n - begin)
                tree.extend(
                    {name: rng.normal(size=size).astype(np.float32) for name in FEATURES} | {"w": np.ones(size)}
                )


def channel(systematics: int) -> MixtureChannel:
    """Return a channel of two samples, the second with shape systematics, whose networks have the default size."""
    options, rng = TrainingOptions(), np.random.default_rng(1)
    torch.manual_seed(1)
    variations = [Variation(1, f"shape{i}", 2 * i, 2 * i + 1) for i in range(systematics)]
    n, scores = 1000, 1 + systematics
    samples = np.repeat([0, 1], n // 2)
    pool = Pool(
        features=rng.normal(size=(n, len(FEATURES))).astype(np.float32),
        samples=samples,
        summary=MixtureSummary(
            weights=np.full(n, 2 / n),
            ratios=np.ones((2, n)),
            slopes=np.zeros((systematics, n)),
            curvatures=np.zeros((systematics, n)),
        ),
    )
    return MixtureChannel(
        name="SR",
        features=FEATURES,
        samples=("signal", "background"),
        yields=np.array([50.0, 1000.0]),
        variations=variations,
        sample_classifier=_classifier(2, options),
        variation_classifiers={1: _classifier(1 + 2 * systematics, options)} if systematics else {},
        calibration=LogitCalibration(
            samples=(np.zeros((2, 2)), np.zeros((2 + scores, 2))),
            variations=(np.zeros((2, 2 * systematics)), np.zeros((2 + scores, 2 * systematics))),
        ),
        pool=pool,
    )


def _classifier(classes: int, options: TrainingOptions) -> CrossFitClassifier:
    scaler = FeatureScaler(torch.zeros(len(FEATURES)), torch.ones(len(FEATURES)))
    return CrossFitClassifier(scaler, classes, options.hidden, options.folds).eval().requires_grad_(False)


def peak() -> float:
    """Return the peak memory of this process so far, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def measure(folder: Path, systematics: int) -> None:
    """Read and encode the files; print rates and the peak memory after each step."""
    encoder = channel(systematics)
    print(f"  {'start':10} {'':28} peak memory {peak():5.2f} GB")
    start = time.perf_counter()
    events = read(EventSource((str(folder / "*.root"),), "nominal", weight="w"), FEATURES)
    _report("reading", len(events), time.perf_counter() - start)
    start = time.perf_counter()
    summary = encoder.encode(events)
    _report("encoding", len(summary.weights), time.perf_counter() - start)


def _report(step: str, events: int, seconds: float) -> None:
    print(f"  {step:10} {seconds:8.2f} s {events / seconds / 1e6:6.2f} M events/s  peak memory {peak():5.2f} GB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where the files already are")
    parser.add_argument("--systematics", type=int, help="measure one channel, with so many two-sided shape systematics")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        measure(arguments.folder, arguments.systematics or 0)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            write_files(Path(temporary), arguments.events)
            for number in (0, 2) if arguments.systematics is None else (arguments.systematics,):
                print(f"{arguments.events:,} events, {number} shape systematics", flush=True)
                command = [sys.executable, __file__, "--folder", temporary, "--systematics", str(number)]
                subprocess.run(command, check=True)
