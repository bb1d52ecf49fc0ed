"""What a posterior holds: its parameters with their priors, its data and its training, as JSON and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from neyman.cli.inspection import provenance_lines
from neyman.results import from_dict
from neyman.support.text import text_table

if TYPE_CHECKING:
    from neyman.posteriors.posterior import Posterior

__all__ = ["of_posterior", "text"]


def __dir__() -> list[str]:
    return __all__


def of_posterior(posterior: Posterior) -> dict[str, Any]:
    """Describe a posterior.

    Args:
        posterior: the posterior.

    Returns:
        ``parameters``, ``channel``, ``features``, ``network``, ``events``, ``stages``, ``provenance``, ``training``.
    """
    priors = posterior.prior_texts()
    parameters = [
        {"name": name, "prior": priors[name], "bounds": bounds}
        for name, bounds in zip(posterior.names, posterior.bounds.tolist(), strict=True)
    ]
    stages = [
        {
            "name": one["name"],
            "validation_loss": min(one["validation_loss"]),
            "validations": len(one["validation_loss"]),
            "seconds": one["seconds"],
        }
        for one in posterior.history
    ]
    return {
        "parameters": parameters,
        "channel": posterior.channel,
        "features": list(posterior.features),
        "network": posterior.kind,
        "events": list(posterior.numbers),
        "stages": stages,
        "provenance": posterior.provenance,
        "training": [report.to_dict() for report in posterior.report],
    }


def text(found: Mapping[str, Any]) -> str:
    """Return the description of a posterior as text to be read.

    Args:
        found: what :func:`of_posterior` returned.
    """
    low, high = found["events"]
    lines = [
        f"posterior, {found['network']} of {', '.join(found['features'])}",
        f"channel {found['channel']}: trained with {low:g} to {high:g} events",
        "",
    ]
    rows = [(p["name"], p["prior"], "{:g} to {:g}".format(*p["bounds"])) for p in found["parameters"]]
    lines += [*text_table([("parameter", "prior", "bounds"), *rows], (), ""), ""]
    stages = [(s["name"], f"{s['validation_loss']:.4f}", f"{s['seconds']:.0f} s") for s in found["stages"]]
    lines += [*text_table([("stage", "validation loss", "time"), *stages], {1, 2}, ""), ""]
    lines += provenance_lines(found["provenance"])
    for report in found["training"]:
        lines += ["", *repr(from_dict(report)).splitlines()]
    return "\n".join(lines)
