"""Joint models: what models share is one parameter with one constraint, and what contradicts is said in one line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
import scipy.optimize
import scipy.stats
import simulators
import torch
import uproot

import neyman
from neyman.events import Ensemble
from neyman.exceptions import InvalidParameter
from neyman.model.setwise import SetChannel
from neyman.model.sources import SimulatorSource

N, WIDTH = 25, 0.1  # events of the exact problem, and how far one standard deviation of alpha moves their mean
THETA = {"name": "theta", "inits": [0.0], "bounds": [[-3, 3]]}
EXPONENTIAL = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code4p"}}
ALPHA = {"name": "alpha", "inits": [0.0], "bounds": [[-4, 4]], "auxdata": [0.0], "sigmas": [1.0]}


def shifted_events(pars: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(pars[0] + WIDTH * pars[1], 1.0, (N, 1))


exact = neyman.Simulator(shifted_events, [THETA, ALPHA], "theta", ["x"])


class Sums(torch.nn.Module):
    """The sufficient statistics of a normal sample: the sum of the events and their number."""

    additive, size, sizes = True, 2, (2,)

    def forward(self, x: torch.Tensor, weights: torch.Tensor, dataset: torch.Tensor, n: int) -> torch.Tensor:
        terms = weights[:, None] * torch.cat([x.double(), torch.ones_like(x).double()], dim=1)
        return torch.zeros(n, 2, dtype=torch.float64).index_add(0, dataset, terms)


class ExactHead(torch.nn.Module):
    """The exact log-likelihood of a normal sample, up to what does not depend on the parameters."""

    def score(self, sums: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        mean = theta[..., 0] + WIDTH * theta[..., 1]
        return mean * sums[:, :1] - 0.5 * sums[:, 1:] * mean**2


@pytest.fixture(scope="module")
def normal() -> neyman.Model:
    """Return the model of the exact simulator that a perfect network would give."""
    low, high = exact.bounds.T
    channel = SetChannel("events", "deepset", ["x"], low, high, Sums(), ExactHead(), (1.0, 1e4), SimulatorSource(exact))
    return neyman.Model(exact.spec(), {"events": channel}, poi_name="theta", modifier_settings=EXPONENTIAL)


def counting(name: str = "CR", *, parameters: Any = (), poi: str | None = None, **modifiers: Any) -> neyman.Model:
    """Return a counting experiment with 100 events expected; modifiers by name, as their type and data."""
    listed = [{"name": key, "type": kind, "data": data} for key, (kind, data) in modifiers.items()]
    sample = {"name": "background", "data": [100.0], "modifiers": listed}
    return neyman.Model(
        {"channels": [{"name": name, "samples": [sample]}], "parameters": list(parameters)}, {}, poi_name=poi,
        modifier_settings=EXPONENTIAL,
    )  # fmt: skip


LOG_NORMAL = ("normsys", {"hi": 1.05, "lo": 1 / 1.05})
BOUNDS_OF_ALPHA = {"name": "alpha", "bounds": [[-4, 4]]}


@pytest.fixture(scope="module")
def joint(normal: neyman.Model) -> neyman.Model:
    return neyman.combine(normal, counting(alpha=LOG_NORMAL, parameters=[BOUNDS_OF_ALPHA]))


EVENTS, COUNT = exact.draw([0.5, 1.0], seed=3), [112.0]


def twice_nll(pars: np.ndarray) -> float:
    """Return the exact -2 log L of events, count and auxiliary datum, up to a constant."""
    theta, alpha = pars
    x = EVENTS.features[:, 0].astype(np.float64)
    return float(
        ((x - theta - WIDTH * alpha) ** 2).sum()
        - 2 * scipy.stats.poisson.logpmf(COUNT[0], 100 * 1.05**alpha)
        + alpha**2
    )


def test_a_fit_of_the_joint_model_is_that_of_the_exact_likelihood(joint: neyman.Model) -> None:
    data = joint.data(Ensemble({"events": EVENTS}, {"CR": COUNT}))
    fit = neyman.fit(data, joint)
    best = scipy.optimize.minimize(twice_nll, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12})
    apart = np.abs(np.array([fit["theta"], fit["alpha"]]) - best.x)
    step = 1e-3
    unit = step * np.eye(2)
    hessian = [
        [sum(a * b * twice_nll(best.x + a * i + b * j) for a in (-1, 1) for b in (-1, 1)) for j in unit] for i in unit
    ]
    errors = np.sqrt(np.diag(np.linalg.inv(np.array(hessian) / (8 * step**2))))
    assert [fit.error("theta"), fit.error("alpha")] == pytest.approx(errors, rel=1e-3)
    assert np.all(apart < 0.005 * errors), apart / errors  # where MINUIT stops


def test_twice_nll_is_the_sum_of_the_parts_with_the_shared_constraint_once(
    joint: neyman.Model, normal: neyman.Model
) -> None:
    counts = counting(alpha=LOG_NORMAL, parameters=[BOUNDS_OF_ALPHA])
    point = {"theta": 0.4, "alpha": 0.7}
    auxdata = [0.3]

    def at(model: neyman.Model, ensemble: Ensemble) -> float:
        pars = np.array([point[name] for name in model.config.par_names])
        return -2 * model.evaluate(pars, model.data(ensemble))[0]

    constraint = -2 * scipy.stats.norm.logpdf(0.3, 0.7, 1.0)
    parts = at(normal, Ensemble({"events": EVENTS}, {}, auxdata)) + at(counts, Ensemble({}, {"CR": COUNT}, auxdata))
    together = at(joint, Ensemble({"events": EVENTS}, {"CR": COUNT}, auxdata))
    assert together == pytest.approx(parts - constraint, abs=1e-9)
    assert joint.config.auxdata == [0.0]


def test_asimov_data_of_the_joint_model_return_their_parameters(joint: neyman.Model) -> None:
    fit = neyman.fit(joint.expected_data(joint.config.suggested_init()), joint)
    assert [fit["theta"], fit["alpha"]] == pytest.approx([0.0, 0.0], abs=1e-4)


def test_toys_of_the_joint_model_scatter_as_the_exact_likelihood_says(joint: neyman.Model) -> None:
    toys = neyman.toys({"theta": 0.5}, joint, 400, seed=2, fit=True)
    # theta is known to 1/sqrt(25), and alpha to what its constraint and the count say together
    alpha = 1 / np.sqrt(1 + 100 * np.log(1.05) ** 2)
    expected = np.hypot(1 / np.sqrt(N), WIDTH * alpha)
    assert toys["theta"].std() == pytest.approx(expected, rel=4 / np.sqrt(2 * 400))
    assert toys["theta"].mean() == pytest.approx(0.5, abs=4 * expected / np.sqrt(400))
    assert toys.main.shape == (400, 2)


def test_two_models_of_simulators_constrain_what_they_share_once(normal: neyman.Model) -> None:
    block = {**ALPHA, "auxdata": [0.5], "sigmas": [0.2]}  # which each has in a bin of its own
    models = []
    for name in ("first", "second"):
        simulator = neyman.Simulator(shifted_events, [THETA, block], "theta", ["x"], channel=name)
        parts = (Sums(), ExactHead(), (1.0, 1e4), SimulatorSource(simulator))
        channel = SetChannel(name, "deepset", ["x"], *simulator.bounds.T, *parts)
        models.append(neyman.Model(simulator.spec(), {name: channel}, poi_name="theta"))
    joint = neyman.combine(*models)
    assert joint.config.par_names == ["alpha", "theta"] or joint.config.par_names == ["theta", "alpha"]
    assert joint.config.auxdata == [0.5]
    data = joint.data(Ensemble({"first": EVENTS, "second": EVENTS}))
    # twice the events: theta + WIDTH alpha is their mean, and alpha is where its constraint has it
    fit = neyman.fit(data, joint)
    assert fit["theta"] == pytest.approx(EVENTS.features.mean() - WIDTH * 0.5, abs=1e-4)
    assert fit.error("theta") == pytest.approx(np.hypot(1 / np.sqrt(2 * N), WIDTH * 0.2), rel=1e-3)


@pytest.fixture(scope="module")
def mixed(trained: neyman.Model, of_simulator: Any) -> neyman.Model:
    """Return a mixture with observations, a binned channel and a trained network that share mu."""
    trained.config.set_poi("mu")
    return neyman.combine(trained, of_simulator("deepset"), bounds={"mu": (0.0, 10.0)})


OBSERVED = simulators.onoff.draw([1.2, 1.0], seed=7)


def test_mixture_binned_and_simulated_channels_stand_side_by_side(mixed: neyman.Model, trained: neyman.Model) -> None:
    assert set(mixed.config.channels) == {"SR", "CR", "events"}
    assert (mixed.config.poi_name, mixed.config.par_names.count("mu")) == ("mu", 1)
    observed = mixed.observed_ensemble
    data = mixed.data(Ensemble({**observed.events, "events": OBSERVED}, observed.counts))
    alone, both = neyman.fit(trained.observed, trained), neyman.fit(data, mixed)
    assert both.valid
    assert both.error("mu") < alone.error("mu")
    assert neyman.limit(data, mixed).observed > both["mu"]


def test_a_joint_model_survives_its_file_and_a_pickle(mixed: neyman.Model, tmp_path: Path) -> None:
    mixed.save(tmp_path / "joint.neyman")
    loaded = neyman.Model.load(tmp_path / "joint.neyman", simulators.onoff)
    observed = mixed.observed_ensemble
    data = mixed.data(Ensemble({**observed.events, "events": OBSERVED}, observed.counts))
    pars = mixed.config.suggested_init()
    for again in (loaded, pickle.loads(pickle.dumps(mixed))):
        assert again.evaluate(pars, data)[0] == mixed.evaluate(pars, data)[0]
    assert len(neyman.toys(pars, loaded, 3, seed=1).main) == 3
    assert [report.channel for report in loaded.report] == ["SR", "events"]
    assert [part["seed"] for part in loaded.provenance["combined"]] == [3, 5]


def test_a_file_of_events_completes_the_observations(
    mixed: neyman.Model, trained: neyman.Model, tmp_path: Path
) -> None:
    assert mixed.observed is None
    with uproot.recreate(tmp_path / "events.root") as file:
        file["data"] = {"x": OBSERVED.features[:, 0]}
    ensemble = mixed.ensemble(mixed.read_data(tmp_path / "events.root"))
    assert len(ensemble.events["events"]) == len(OBSERVED)
    assert ensemble.counts["CR"].tolist() == trained.observed_ensemble.counts["CR"].tolist()


IN_BOTH = (
    r"theta is free, bounds \[-3, 3\] in model 1 \(events\), "
    r"but free, bounds \[0, 10\] \(normfactor\) in model 2 \(CR\)"
)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"theta": ("normfactor", None)}, IN_BOTH + r': give bounds=\{"theta": \(0, 3\)\}'),
        ({"theta": LOG_NORMAL}, r"theta is free, .* but normal constraint 0 \+/- 1, .*give it the same constraint"),
        ({"alpha": ("normfactor", None)}, r"alpha is normal constraint 0 \+/- 1, .* but free"),
        ({"alpha": ("staterror", [10.0])}, r"alpha is normal constraint 0 \+/- 1, .* but normal constraint 1 \+/- 0.1"),
        ({"alpha": ("shapesys", [10.0])}, r"alpha is normal constraint 0 \+/- 1, .* but Poisson constraint 100"),
    ],
)
def test_what_contradicts_names_the_parameter_and_both_blocks(normal: neyman.Model, other: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        neyman.combine(normal, counting(**other))


def test_modifiers_that_pyhf_does_not_let_share_a_parameter_are_refused() -> None:
    one, other = (counting(name, stat=("staterror", [10.0])) for name in ("A", "B"))
    with pytest.raises(InvalidParameter, match=r"stat is .* \(staterror\) .* cannot share it, give it another name"):
        neyman.combine(one, other)
    shape = counting("B", alpha=("histosys", {"hi_data": [105.0], "lo_data": [95.0]}))
    assert neyman.combine(counting("A", alpha=LOG_NORMAL), shape).config.npars == 1


def test_a_parameter_is_fixed_in_all_models_or_in_none() -> None:
    held = {"name": "mu", "fixed": True, "inits": [2.0]}
    models = [counting(name, mu=("normfactor", None), parameters=[held]) for name in ("A", "B")]
    joint = neyman.combine(*models)
    assert (joint.config.suggested_fixed(), joint.config.suggested_init()) == ([True], [2.0])
    with pytest.raises(InvalidParameter, match=r"fixed at 2 .* fix it at the same value in both, or in neither"):
        neyman.combine(models[0], counting("B", mu=("normfactor", None)))


def test_channels_parameters_of_interest_and_bounds_are_checked(normal: neyman.Model) -> None:
    one: Any = counting("A", mu=("normfactor", None), poi="mu")
    mu: Any = {"nu": ("normfactor", None), "poi": "nu"}
    with pytest.raises(InvalidParameter, match=r"1 models given"):
        neyman.combine(one)
    with pytest.raises(InvalidParameter, match=r"channel A is in model 1 \(A\) and in model 2 \(A\)"):
        neyman.combine(one, one)
    with pytest.raises(InvalidParameter, match=r'parameters of interest, mu and nu: choose one by poi="mu"'):
        neyman.combine(one, counting("B", **mu))
    assert neyman.combine(one, counting("B", **mu), poi="nu").config.poi_name == "nu"
    with pytest.raises(InvalidParameter, match=r"no parameter muu: did you mean 'mu'"):
        neyman.combine(one, counting("B", **mu), poi="muu")
    with pytest.raises(InvalidParameter, match=r"theta .*within \(-3, 3\)"):  # where its network was trained
        neyman.combine(normal, one, bounds={"theta": (-5.0, 3.0)})
    with pytest.raises(InvalidParameter, match=r"bounds: the models have no parameter xi"):
        neyman.combine(normal, one, bounds={"xi": (-5.0, 3.0)})
    other = neyman.Model(counting("B", **mu).spec, {})  # whose interpolation is pyhf's own
    with pytest.raises(InvalidParameter, match="different modifier_settings"):
        neyman.combine(one, other, poi="mu")


def test_observed_auxiliary_data_of_a_shared_constraint_must_agree() -> None:
    models = []
    for name, auxdata in (("A", [0.5]), ("B", [0.5]), ("C", [0.1])):
        model = counting(name, alpha=LOG_NORMAL)
        observed = Ensemble({}, {name: [100.0]}, auxdata)
        models.append(neyman.Model(model.spec, {}, observed=observed))
    assert neyman.combine(*models[:2]).observed.tolist() == [100.0, 100.0, 0.5]
    with pytest.raises(InvalidParameter, match=r"auxiliary data of alpha are \[0.5\] in model 1 \(A\), but \[0.1\]"):
        neyman.combine(models[0], models[2])


def test_a_plain_pyhf_model_is_taken_as_its_user_has_set_it() -> None:
    plain = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
    plain.config.param_set("mu").suggested_bounds = [(0.0, 3.0)]
    bounds = {"name": "mu", "bounds": [[0, 3]]}
    counts = neyman.Model(counting(mu=("normfactor", None), parameters=[bounds]).spec, {})
    joint = neyman.combine(plain, counts)
    assert joint.config.suggested_bounds()[joint.config.poi_index] == [0.0, 3.0]
    assert joint.config.npars == plain.config.npars
