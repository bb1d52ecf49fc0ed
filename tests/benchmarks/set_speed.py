"""Speed of dataset-wide networks: encoding, evaluation against the number of events, training against a plain loop."""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import neyman
from neyman.inputs.simulation import Datasets, simulate
from neyman.networks.deepset import DeepSet
from neyman.networks.heads import LinearHead, ParameterFeatures
from neyman.networks.kinds import kind_of, set_options
from neyman.networks.scaling import robust_scaler
from neyman.training.contrastive import train_set
from neyman.training.proposals import GROUP, propose


def onoff(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate a peak of 10 mu events on a background of 100 nu."""
    signal, background = rng.poisson(10 * pars[0]), rng.poisson(100 * pars[1])
    return np.concatenate([rng.normal(-7, 2, signal), rng.normal(0, 3, background)])[:, None]


BOUNDS = [[0.0, 12.0], [0.1, 2.5]]
PARAMETERS = [
    {"name": name, "inits": [1.0], "bounds": [bounds]} for name, bounds in zip(("mu", "nu"), BOUNDS, strict=True)
]


def seconds(function: Callable[[], object], repeat: int) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def evaluation(model: neyman.Model, sizes: list[int]) -> dict[str, dict[str, float]]:
    """Time encoding, and an evaluation of the likelihood with its gradient after it."""
    rng, found = np.random.default_rng(0), {}
    for size in sizes:
        ensemble = neyman.Ensemble({"events": neyman.Events(rng.normal(0, 3, size=(size, 1)))})
        begin = time.perf_counter()
        summary = model.encode(ensemble)
        encoding = time.perf_counter() - begin
        evaluate = seconds(lambda summary=summary: model.evaluate([5.0, 1.0], summary), 50)
        found[f"{size}"] = {"encoding": size / encoding, "evaluation": evaluate}
    return found


def plain_loop(datasets: Datasets, steps: int, batch: int) -> float:
    """Train the same network on the same batches by a loop as one writes it down; return datasets a second."""
    low, high = torch.tensor(BOUNDS).T
    torch.manual_seed(0)
    options = set_options("deepset", {"knots": 0})
    encoder = DeepSet(robust_scaler(torch.from_numpy(datasets.features)), **options.shape)
    head = LinearHead(ParameterFeatures(low, high), encoder.size)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=3e-3, betas=(0.9, 0.99))
    events = [datasets.dataset(t).features for t in range(len(datasets))]
    rng, begin = np.random.default_rng(0), time.perf_counter()
    for _ in range(steps):
        groups = rng.choice(len(datasets) // GROUP, batch // GROUP, replace=False)
        rows = (groups[:, None] * GROUP + np.arange(GROUP)).ravel()
        x = torch.from_numpy(np.concatenate([events[row] for row in rows]))
        index = torch.from_numpy(np.repeat(np.arange(len(rows)), [len(events[row]) for row in rows]))
        summaries = encoder(x, torch.ones(len(x)), index, len(rows))
        theta = torch.from_numpy(datasets.pars[rows].astype(np.float32))
        data = head.data(summaries.view(-1, GROUP, summaries.shape[1]))
        scores = data @ head.candidates(theta.view(-1, GROUP, theta.shape[1])).mT
        loss = -nn.functional.log_softmax(scores, dim=2).diagonal(dim1=1, dim2=2).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return steps * batch / (time.perf_counter() - begin)


def our_loop(datasets: Datasets, steps: int, batch: int) -> float:
    """Return datasets a second of the first stage of the training."""
    options = set_options("deepset", {"knots": 0, "steps": steps, "batch_size": batch, "head_steps": 1})
    low, high = np.array(BOUNDS).T
    trained = train_set(kind_of("deepset"), datasets, low, high, options, counts=True)
    return float(steps * batch / trained.history[0]["seconds"])


def main() -> None:
    """Print all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=float, default=1e7, help="events of the largest dataset")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # these datasets are larger than those of the training, on purpose
    torch.set_num_threads(options.threads)
    simulator = neyman.Simulator(onoff, PARAMETERS, "mu", ["x"])
    model = neyman.train(simulator, {"datasets": 6400, "steps": 100, "head_steps": 100}, workers=1)
    sizes = [10**k for k in range(2, int(math.log10(options.largest)) + 1)]
    low, high = simulator.bounds.T
    datasets = simulate(simulator, propose(low, high, 20_000, 0), workers=1)
    ours = [our_loop(datasets, options.steps, 256) for _ in range(3)]
    plain = [plain_loop(datasets, options.steps, 256) for _ in range(3)]
    found = {
        "evaluation": evaluation(model, sizes),
        "training": {"neyman": float(np.median(ours)), "plain loop": float(np.median(plain))},
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
