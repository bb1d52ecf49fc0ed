"""Posteriors of whole datasets side by side with ``sbi``: the same simulations, the same time of one core.

``python compare.py multivariate onoff --output figures.json``, in an environment of ``requirements.txt``. neyman trains
with its default options; then ``sbi``'s NPE and NRE, with its permutation-invariant embedding and padded datasets,
train for as long, simulation not counted for them. All are held to the exact posteriors of the same test datasets.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from problems import PROBLEMS, Problem, Test, draw_parameters
from sbi.inference import NPE, NRE
from sbi.neural_nets import classifier_nn, posterior_nn
from sbi.neural_nets.embedding_nets import FCEmbedding, PermutationInvariantEmbedding
from sbi.utils import BoxUniform, MultipleIndependent
from torch import Tensor

import neyman
from neyman.inputs.simulation import Datasets, simulate

Array = NDArray[np.float64]

METHODS = ("NPE", "NPE, mean", "NRE", "NRE, mean")
LEVEL = 0.68
DRAWS = 1000
PADDING = -1e6  # where there is no event
_ROUNDS, _PARTICLES = 6, 4096  # of the importance sampling of a ratio


@dataclass(frozen=True, eq=False)
class Answers:
    """What a method says of a test.

    Args:
        draws: of the posteriors, shape ``(B, n, P)``.
        log_posterior: the logarithms of their densities at the truths, shape ``(B,)``.
    """

    draws: Array
    log_posterior: Array


def compared(test: Test, answers: Answers) -> dict[str, Any]:
    """Return the figures of merit, for each parameter where there is one each.

    The learned width over the exact one (median, 16 and 84 % quantiles), the standard deviation of the pulls, the
    r.m.s. distance of the means in exact widths, how often the central interval of the level has the truth, and the
    mean of the exact log posterior at the truth minus the learned one: the Kullback-Leibler divergence in nats.
    """
    mean, width = answers.draws.mean(axis=1), answers.draws.std(axis=1)
    low, middle, high = np.quantile(width / test.width, [0.16, 0.5, 0.84], axis=0)
    rank = (answers.draws < test.theta[:, None]).mean(axis=1)
    lost = test.log_posterior - answers.log_posterior
    return {
        "datasets": len(test.datasets),
        "width": middle.tolist(),
        "16 %": low.tolist(),
        "84 %": high.tolist(),
        "pull": ((mean - test.theta) / width).std(axis=0).tolist(),
        "distance": np.sqrt((((mean - test.mean) / test.width) ** 2).mean(axis=0)).tolist(),
        "coverage": (np.abs(rank - 0.5) < 0.5 * LEVEL).mean(axis=0).tolist(),
        "lost": float(lost.mean()),
        "error of lost": float(lost.std() / math.sqrt(len(lost))),
    }


def train_neyman(problem: Problem, seed: int) -> Callable[[Test], Answers]:
    """Train with default options, in this process."""
    posterior = neyman.train_posterior(problem.simulator, seed=seed, workers=1)

    def answer(test: Test) -> Answers:
        summaries = [posterior.encode(x) for x in test.datasets]
        draws = posterior.sample_many(summaries, DRAWS, seed=seed)
        pairs = zip(test.theta, summaries, strict=True)
        return Answers(draws, np.array([posterior.log_prob(theta[None], one)[0] for theta, one in pairs]))

    return answer


class Padding:
    """Datasets as one tensor of one length, each feature centred and scaled as in the simulation.

    ``sbi``'s own scaling has to be off where data are padded.
    """

    def __init__(self, datasets: Datasets) -> None:
        self.most = int(datasets.numbers.max())
        self.centre, self.scale = datasets.features.mean(axis=0), datasets.features.std(axis=0)

    def __call__(self, datasets: Sequence[NDArray[Any]]) -> Tensor:
        """Return them, shape ``(B, most, d)``; of more events than any had in the simulation the last are left out."""
        out = np.full((len(datasets), self.most, len(self.centre)), PADDING, dtype=np.float32)
        for row, x in zip(out, datasets, strict=True):
            row[: len(x)] = ((x - self.centre) / self.scale)[: self.most]
        return torch.from_numpy(out)


def train_sbi(
    method: str, problem: Problem, pars: Array, datasets: Datasets, seconds: float, seed: int
) -> tuple[Callable[[Test], Answers], int]:
    """Train a method of ``sbi`` with its default options, and return what answers and how many epochs there were.

    Args:
        method: ``NPE`` or ``NRE``, and ``, mean`` to embed the mean of the events rather than, the default, their sum.
        problem: the problem.
        pars: where the simulation is, shape ``(T, P)``: what is used of it.
        datasets: the simulation, of as many datasets or more.
        seconds: of CPU time; the epoch in which they are over is the last.
        seed: of the training.
    """
    torch.manual_seed(seed)
    padding = Padding(datasets)
    name, _, aggregation = method.partition(", ")
    embedding = _Embedding(FCEmbedding(len(padding.centre)), 20, aggregation_fn=aggregation or "sum")
    prior = _prior(problem)
    silent = {"prior": prior, "show_progress_bars": False, "tracker": _Silent(), "logging_level": "ERROR"}
    if name == "NPE":
        builder = posterior_nn("maf", z_score_x="none", embedding_net=embedding)
        inference = _TimedNPE(density_estimator=builder, **silent)
    else:
        builder = classifier_nn("resnet", z_score_x="none", embedding_net_x=embedding)
        inference = _TimedNRE(classifier=builder, **silent)
    x = padding([datasets.dataset(row).features for row in range(len(pars))])
    inference.append_simulations(torch.from_numpy(pars.astype(np.float32)), x)
    inference.deadline = time.process_time() + seconds
    estimator = inference.train()
    answer = _answers_of_flow if name == "NPE" else _answers_of_ratio
    return lambda test: answer(estimator, prior, padding(test.datasets), test), inference.epoch


class _Embedding(PermutationInvariantEmbedding):
    """``sbi``'s embedding, which masks nan, for a value that its NRE, which refuses nan, takes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.masked_fill(x == PADDING, math.nan))


class _Timed:
    """Ends a training of ``sbi`` with the first epoch after a CPU time, and keeps the best weights, as it does."""

    deadline: float

    def _converged(self, epoch: int, stop_after_epochs: int) -> bool:
        converged: bool = super()._converged(epoch, stop_after_epochs)  # type: ignore[misc]
        if not converged and time.process_time() > self.deadline:
            self._neural_net.load_state_dict(self._best_model_state_dict)  # type: ignore[attr-defined]
            return True
        return converged


class _TimedNPE(_Timed, NPE): ...


class _TimedNRE(_Timed, NRE): ...


class _Silent:
    """A tracker of ``sbi`` that writes nothing."""

    log_dir = None

    def log_metric(self, name: str, value: float, step: int | None = None) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def add_figure(self, name: str, figure: Any, step: int | None = None) -> None: ...

    def flush(self) -> None: ...


def _prior(problem: Problem) -> torch.distributions.Distribution:
    """Return the prior as ``sbi`` takes it."""
    parts: list[torch.distributions.Distribution] = []
    for one in problem.prior.values():
        low, high = (torch.tensor([float(value)]) for value in one.support())
        if torch.isfinite(low + high).all():
            parts.append(BoxUniform(low, high))
        else:
            parts.append(
                torch.distributions.Normal(torch.tensor([float(one.mean())]), torch.tensor([float(one.std())]))
            )
    return MultipleIndependent(parts)


def _answers_of_flow(estimator: Any, prior: Any, x: Tensor, test: Test) -> Answers:
    """Draw within the prior's support, and divide the density by the share of the draws that are, as ``sbi`` does."""
    theta = torch.from_numpy(test.theta.astype(np.float32))
    with torch.no_grad():
        draws = torch.cat([estimator.sample(torch.Size([4 * DRAWS]), condition=one) for one in x.split(50)], dim=1)
        logs = torch.cat(
            [estimator.log_prob(t[None], condition=one)[0] for t, one in zip(theta.split(50), x.split(50), strict=True)]
        )
    inside = np.isfinite(prior.log_prob(draws.reshape(-1, draws.shape[-1])).numpy()).reshape(draws.shape[:2])
    kept = np.stack(
        [np.resize(draws[inside[:, row], row].numpy(), (DRAWS, draws.shape[-1])) for row in range(draws.shape[1])]
    )
    return Answers(kept.astype(np.float64), logs.numpy() - np.log(inside.mean(axis=0)))


def _answers_of_ratio(estimator: Any, prior: Any, x: Tensor, test: Test) -> Answers:
    """Normalise prior times ratio, and draw from it, by adaptive importance sampling: a Student's t that moves.

    It begins where the exact posterior is, twice as wide, so that nothing is lost to a sampler.
    """
    rng, p = np.random.default_rng(0), test.theta.shape[1]
    draws, logs, effective = [], [], []
    with torch.no_grad():
        embedded = torch.cat([estimator.embedding_net_x(one) for one in x.split(50)])

        def target(theta: Array, row: Tensor) -> Array:
            points = torch.from_numpy(theta.astype(np.float32))
            seen = torch.cat([estimator.embedding_net_theta(points), row.expand(len(points), -1)], dim=1)
            values = estimator.net(seen)[:, 0].double().numpy()
            return np.asarray(values + prior.log_prob(points).double().numpy())

        for k, row in enumerate(embedded):
            mean, root = test.mean[k], 2.0 * np.diag(test.width[k])
            for _ in range(_ROUNDS):
                theta = mean + _student(rng, p) @ root.T
                found = target(theta, row) - _log_student(np.linalg.solve(root, (theta - mean).T).T, root)
                weights = np.exp(found - found.max())
                weights[~np.isfinite(weights)] = 0.0
                shares = weights / weights.sum()
                mean = shares @ theta
                root = np.linalg.cholesky(np.cov(theta.T, aweights=shares, bias=True) * 1.5 + 1e-12 * np.eye(p))
            log_total = found.max() + math.log(weights.mean())
            draws.append(theta[rng.choice(len(theta), DRAWS, p=shares)])
            logs.append(float(target(test.theta[k : k + 1], row)[0] - log_total))
            effective.append(1.0 / (shares**2).sum())
    print(f"effective draws of {_PARTICLES}: at least {min(effective):.0f}, median {np.median(effective):.0f}")
    return Answers(np.array(draws), np.array(logs))


_DEGREES = 5.0


def _student(rng: np.random.Generator, p: int) -> Array:
    return rng.standard_normal((_PARTICLES, p)) / np.sqrt(rng.chisquare(_DEGREES, (_PARTICLES, 1)) / _DEGREES)


def _log_student(z: Array, root: Array) -> Array:
    p = z.shape[1]
    norm = math.lgamma((_DEGREES + p) / 2) - math.lgamma(_DEGREES / 2) - 0.5 * p * math.log(_DEGREES * math.pi)
    tail = 0.5 * (_DEGREES + p) * np.log1p((z**2).sum(axis=1) / _DEGREES)
    return np.asarray(norm - tail - np.linalg.slogdet(root)[1])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", nargs="+", choices=sorted(PROBLEMS))
    parser.add_argument("--method", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--simulations", type=int, default=60_000, help="for NPE: neyman's default; a sixth for NRE")
    parser.add_argument("--datasets", type=int, default=500, help="of every test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="a file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for name in options.problem:
        problem = PROBLEMS[name]()
        rng = np.random.default_rng(options.seed + 1000)
        tests = {label: make(options.datasets, rng) for label, make in problem.tests.items()}
        begin = time.process_time()
        answer = train_neyman(problem, options.seed)
        seconds = time.process_time() - begin
        found.append({"problem": name, "method": "neyman", "seconds": seconds, **_examined(tests, answer)})
        print(_row(found[-1]), flush=True)
        pars = draw_parameters(problem, options.simulations, np.random.default_rng(options.seed))
        datasets = simulate(problem.simulator, pars, options.seed, workers=1)
        for method in options.method:
            used = pars[: _number(method, len(pars))]
            begin = time.process_time()
            answer, epochs = train_sbi(method, problem, used, datasets, seconds, options.seed)
            run = {"problem": name, "method": method, "seconds": time.process_time() - begin, "epochs": epochs}
            found.append({**run, **_examined(tests, answer)})
            print(_row(found[-1]), flush=True)
        options.output.write_text(json.dumps(found, indent=1) + "\n")


def _examined(tests: Mapping[str, Test], answer: Callable[[Test], Answers]) -> dict[str, Any]:
    return {"tests": {label: compared(test, answer(test)) for label, test in tests.items()}}


def _number(method: str, simulations: int) -> int:
    """Return how many simulations a method takes: NRE, which embeds each for ten parameters, sees fewer of them."""
    return simulations // 6 if method.startswith("NRE") else simulations


def _row(run: Mapping[str, Any]) -> str:
    """Return the figures of a method as lines to read."""
    epochs = f", {run['epochs']} epochs" if "epochs" in run else ""
    lines = [f"{run['problem']}, {run['method']}: {run['seconds']:.0f} s{epochs}"]
    for label, one in run["tests"].items():
        parts = [
            f"{key} {' '.join(f'{value:.3f}' for value in one[key])}"
            for key in ("width", "pull", "coverage", "distance")
        ]
        lines.append(f"  {label}: {'; '.join(parts)}; lost {one['lost']:.3f} ± {one['error of lost']:.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
