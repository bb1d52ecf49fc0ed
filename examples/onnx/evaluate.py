"""The likelihood of an exported model, with NumPy and onnxruntime alone.

    python evaluate.py FOLDER

evaluates it at the dataset that comes with the model, whose value is known.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime

FUNCTIONS = {name: getattr(np, name) for name in ("sqrt", "exp", "log", "sin", "cos", "tan", "pi")}


def encode(folder, channel, features):
    """Return ratios (N, C), slopes (N, M) and curvatures (N, M) of the events of a channel: once for each dataset."""
    session = onnxruntime.InferenceSession(Path(folder, channel["file"]))
    found = session.run(None, {"features": np.asarray(features, dtype=np.float32)})
    return found if len(found) == 3 else [found[0], *np.zeros((2, len(features), 0))]


# -- the learned channels: what their events say


def curve(alpha, interpolation):
    """Return v(alpha), which multiplies the curvature of a variation."""
    size = abs(alpha)
    if interpolation == "two-sided":
        return size**2 if size <= 2 else 4 * size - 4
    return size**2 * (15 - 10 * size**2 + 3 * size**4) / 8 if size <= 1 else size


def log_normalisation(groups, t):
    """Return log Z of a sample, of which t are the coefficients of its slopes and then of its curvatures."""
    points = np.array(groups["points"])
    exponent = points @ t
    if "covariances" in groups:
        exponent += 0.5 * np.einsum("gij,i,j->g", groups["covariances"], t, t)
    peak = exponent.max()
    return peak + np.log(np.array(groups["weights"]) @ np.exp(exponent - peak))


def log_ratio(channel, encoded, weights, rates, pars):
    """Return what the events of a channel say beside their number; rates are those of its samples, by name."""
    ratios, slopes, curvatures = encoded
    alpha = np.array([pars[one["parameter"]] for one in channel["variations"]])
    v = np.array([curve(pars[one["parameter"]], one["interpolation"]) for one in channel["variations"]])
    densities = dict(zip(channel["samples"], ratios.T, strict=True))
    for groups in channel["normalisations"]:
        own = groups["variations"]
        log_z = log_normalisation(groups, np.concatenate([alpha[own], v[own]]))
        bent = np.exp(slopes[:, own] @ alpha[own] + curvatures[:, own] @ v[own] - log_z)
        densities[groups["sample"]] = densities[groups["sample"]] * bent
    total = sum(rates[name] for name in channel["samples"])
    return weights @ np.log(sum(rates[name] / total * densities[name] for name in channel["samples"]))


# -- HistFactory: the expected events of every sample and bin


def normsys(alpha, up, down, code):
    """Return the factor of a normsys; its interpolation is pyhf's code1 or code4."""
    if code == "code1" or abs(alpha) >= 1:
        return up**alpha if alpha >= 0 else down**-alpha
    matrix = [
        [15, -15, -7, -7, 1, -1],
        [24, 24, -9, 9, 1, 1],
        [-10, 10, 10, 10, -2, 2],
        [-24, -24, 14, -14, -2, -2],
        [3, -3, -3, -3, 1, -1],
        [8, 8, -5, 5, 1, 1],
    ]
    log_up, log_down = math.log(up), math.log(down)
    ends = [up - 1, down - 1, up * log_up, -down * log_down, up * log_up**2, down * log_down**2]
    return 1 + alpha ** np.arange(1, 7) @ (np.array(matrix) @ ends) / 16


def histosys(alpha, up, nominal, down, code):
    """Return what a histosys adds; its interpolation is pyhf's code0 or code4p."""
    up, down = np.subtract(up, nominal), np.subtract(nominal, down)
    if code == "code0" or abs(alpha) >= 1:
        return alpha * (up if alpha >= 0 else down)
    even = alpha**2 * (15 - 10 * alpha**2 + 3 * alpha**4) / 8
    return alpha * (up + down) / 2 + even * (up - down) / 2


def expected(document, pars):
    """Return the expected events of every sample, (bins,), by channel and sample."""
    codes = {kind: one["interpcode"] for kind, one in document["modifier_settings"].items()}
    found = {}
    for channel in document["histfactory"]["channels"]:
        for sample in channel["samples"]:
            nominal = np.array(sample["data"], dtype=float)
            added, factor = np.zeros_like(nominal), np.ones_like(nominal)
            for modifier in sample["modifiers"]:
                name, kind, data = modifier["name"], modifier["type"], modifier["data"]
                if kind in ("normfactor", "lumi"):
                    factor *= pars[name]
                elif kind in ("shapefactor", "shapesys", "staterror"):
                    factor *= [pars[f"{name}[{b}]"] for b in range(len(nominal))]
                elif kind == "normsys":
                    factor *= normsys(pars[name], data["hi"], data["lo"], codes[kind])
                elif kind == "histosys":
                    added += histosys(pars[name], data["hi_data"], nominal, data["lo_data"], codes[kind])
                elif kind == "purefunc":
                    factor *= eval(document["expressions"][name], {"__builtins__": {}, **FUNCTIONS}, pars)
                else:
                    raise ValueError(f"unknown modifier {name}: {kind}")
            found.setdefault(channel["name"], {})[sample["name"]] = (nominal + added) * factor
    return found


# -- the likelihood


def log_poisson(n, rate):
    """Return the logarithm of Poisson's probability, continued to any n."""
    return sum((k * math.log(r) if k else 0.0) - r - math.lgamma(k + 1) for k, r in zip(n, rate, strict=True))


def log_constraint(term, datum, value):
    """Return the logarithm of a constraint term."""
    if term["type"] == "poisson":
        return log_poisson([datum], [term["factor"] * value])
    return -0.5 * ((datum - value) / term["sigma"]) ** 2 - math.log(term["sigma"] * math.sqrt(2 * math.pi))


def log_likelihood(document, pars, counts, encoded, weights, auxiliary_data=None):
    """Return log L.

    Args:
        document: likelihood.json.
        pars: the parameters, by name.
        counts: of every binned channel, by name.
        encoded: of every learned channel what encode() returns, by name.
        weights: of its events, by name.
        auxiliary_data: in the order of the constraint terms; nominal if left out.
    """
    rates = expected(document, pars)
    value = 0.0
    for channel in document["learned_channels"]:
        name = channel["name"]
        of_samples = {sample: one[0] for sample, one in rates[name].items()}
        value += log_ratio(channel, encoded[name], weights[name], of_samples, pars)
        value += log_poisson([weights[name].sum()], [sum(of_samples.values())])
    for name, n in counts.items():
        value += log_poisson(n, sum(rates[name].values()))
    if auxiliary_data is None:
        auxiliary_data = [term["auxiliary_datum"] for term in document["constraints"]]
    for term, datum in zip(document["constraints"], auxiliary_data, strict=True):
        value += log_constraint(term, datum, pars[term["parameter"]])
    return value


def check(folder):
    """Return log L of the dataset that comes with an exported model, and what it should be."""
    document = json.loads(Path(folder, "likelihood.json").read_text())
    known = document["check"]
    encoded, weights = {}, {}
    for channel in document["learned_channels"]:
        events = known["events"][channel["name"]]
        encoded[channel["name"]] = encode(folder, channel, events["features"])
        weights[channel["name"]] = np.array(events["weights"])
    value = log_likelihood(document, known["parameters"], known["counts"], encoded, weights, known["auxiliary_data"])
    return value, known["log_likelihood"]


if __name__ == "__main__":
    found, wanted = check(sys.argv[1])
    print(f"log L = {found:.6f}, and neyman says {wanted:.6f}")
