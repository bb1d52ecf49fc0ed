"""Inspection: what a document or a model holds, as a JSON-able description and as text, and what will limit it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyhf

from neyman.events import Ensemble, effective_events, size_warning
from neyman.model.constraints import constraints
from neyman.results import SetReport, from_dict
from neyman.support.text import text_table

if TYPE_CHECKING:
    from neyman.inputs.simulator import Simulator
    from neyman.inputs.workspace import Workspace
    from neyman.model.model import Model

__all__ = ["of_model", "of_simulator", "of_workspace", "text"]


def __dir__() -> list[str]:
    return __all__


_DATASETS = 20


def of_workspace(workspace: Workspace) -> dict[str, Any]:
    """Describe a document; reads its event sources.

    Args:
        workspace: the document.

    Returns:
        ``poi``, ``channels``, ``parameters``, ``warnings``.
    """
    learned = {}
    for name in workspace.learned:
        simulation = workspace.simulation(name)
        learned[name] = {
            "features": list(simulation.features),
            "events": {
                sample: (len(events), effective_events(events.weights)) for sample, events in simulation.samples.items()
            },
            "shapes": {sample: list(varied) for sample, varied in simulation.variations.items()},
        }
    blind = set(workspace.channels) - {entry["name"] for entry in workspace.document.get("observations", [])}
    model = pyhf.Model(workspace.spec(), poi_name=workspace.poi_name)
    return _describe(model, learned, None if blind else workspace.observed())


def of_model(model: Model) -> dict[str, Any]:
    """Describe a model.

    Args:
        model: the model.

    Returns:
        What :func:`of_workspace` gives, ``provenance``, and the ``training`` report of each learned channel.
    """
    learned = {}
    for name, channel in model.learned.items():
        simulated = channel.source.simulated if channel.source else {}
        learned[name] = {
            "features": list(channel.features),
            "events": {sample: (size.number, size.effective) for sample, size in simulated.items()},
            "shapes": {sample: list(size.shapes) for sample, size in simulated.items()},
        }
    found = _describe(model, learned, model.observed_ensemble)
    found["warnings"] += [
        f"{report.channel}: {report.verdict}"
        for report in model.report
        if isinstance(report, SetReport) and not report.good
    ]
    for described in found["channels"]:
        if described["name"] in model.learned and model.learned[described["name"]].owns_number:
            for sample in described["samples"]:
                sample["yield"] = None  # the network knows it, and nobody else
    return {**found, "provenance": model.provenance, "training": [report.to_dict() for report in model.report]}


def of_simulator(simulator: Simulator) -> dict[str, Any]:
    """Describe a simulator, with the average number of events in a few datasets at the initial parameters.

    Args:
        simulator: the simulator.

    Returns:
        What :func:`of_workspace` gives.
    """
    numbers = [len(simulator.draw(simulator.inits, [0, t])) for t in range(_DATASETS)]
    learned = {simulator.channel: {"features": list(simulator.features), "events": {}, "shapes": {}}}
    model = pyhf.Model(simulator.spec(), poi_name=simulator.poi)
    for name in simulator.names:  # one number each, and so its name has no index
        model.config.param_set(name).is_scalar = True
    found = _describe(model, learned, None)
    found["channels"][0]["samples"][0]["yield"] = float(np.mean(numbers))
    return {**found, "warnings": []}


def _describe(model: pyhf.Model, learned: Mapping[str, Mapping[str, Any]], observed: Ensemble | None) -> dict[str, Any]:
    channels: list[dict[str, Any]] = []
    warnings: list[str] = []
    for channel in model.spec["channels"]:
        name = channel["name"]
        here = learned.get(name)
        samples = []
        for sample in channel["samples"]:
            expected = float(np.sum(sample["data"]))
            entry: dict[str, Any] = {"name": sample["name"], "yield": expected}
            shapes = here["shapes"].get(sample["name"], []) if here else []
            entry["modifiers"] = [
                f"{m['name']} ({m['type']}{' and shape' if m['name'] in shapes else ''})" for m in sample["modifiers"]
            ]
            if here and sample["name"] in here["events"]:
                entry["simulated"], effective = here["events"][sample["name"]]
                entry["effective"] = effective
                if warning := size_warning(expected, effective):
                    warnings.append(f"{name}, {sample['name']}: {warning}")
            samples.append(entry)
        described: dict[str, Any] = {"name": name, "samples": samples, "observed": _observed(observed, name)}
        described |= {"features": here["features"]} if here else {"bins": model.config.channel_nbins[name]}
        channels.append(described)
    if observed is None:
        warnings.append("there are no observations for all channels: fits and limits need --data or --asimov")
    config, terms = model.config, constraints(model)
    parameters = [
        {"name": name, "init": init, "bounds": list(bounds), "fixed": fixed, "constraint": terms.get(name)}
        for name, init, bounds, fixed in zip(
            config.par_names, config.suggested_init(), config.suggested_bounds(), config.suggested_fixed(), strict=True
        )
    ]
    return {"poi": config.poi_name, "channels": channels, "parameters": parameters, "warnings": warnings}


def _observed(observed: Ensemble | None, channel: str) -> float | None:
    if observed is None:
        return None
    events = observed.events.get(channel)
    return float(np.sum(observed.counts[channel]) if events is None else events.weights.sum())


def text(found: Mapping[str, Any]) -> str:
    """Return a description as text to be read.

    Args:
        found: what :func:`of_workspace` or :func:`of_model` returned.
    """
    lines = [f"parameter of interest: {found['poi'] or 'none'}"]
    for channel in found["channels"]:
        learned = "features" in channel
        kind = f"learned from {', '.join(channel['features'])}" if learned else f"{channel['bins']} bins"
        lines += ["", f"channel {channel['name']}: {kind}"]
        rows = [("sample", "yield", *(("simulated",) if learned else ()), "modifiers")]
        for sample in channel["samples"]:
            simulated = (f"{sample.get('simulated', '')}",) if learned else ()
            expected = "learned" if sample["yield"] is None else f"{sample['yield']:.5g}"
            rows.append((sample["name"], expected, *simulated, ", ".join(sample["modifiers"])))
        if channel["observed"] is not None:
            rows.append(("observed", f"{channel['observed']:.5g}", *(("",) if learned else ()), ""))
        lines += text_table(rows, right={1, 2} if learned else {1})
    rows = [("parameter", "start", "bounds", "constraint")]
    for parameter in found["parameters"]:
        term = parameter["constraint"]
        kind = "free" if term is None else f"{term[0]:.5g} +/- {term[1]:.3g}"
        low, high = parameter["bounds"]
        bounds = f"{low:g} to {high:g}"
        rows.append((parameter["name"], f"{parameter['init']:.5g}", bounds, "fixed" if parameter["fixed"] else kind))
    lines += ["", *text_table(rows, right={1}, indent="")]
    if "training" in found:
        lines += ["", *_provenance(found["provenance"])]
        for report in found["training"]:
            lines += ["", *repr(from_dict(report)).splitlines()]
    lines += ["", *(f"warning: {warning}" for warning in found["warnings"])] if found["warnings"] else []
    return "\n".join(lines)


def _provenance(provenance: Mapping[str, Any]) -> list[str]:
    lines = ["provenance"]
    for key, value in provenance.items():
        if key == "files":
            continue
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else value
        lines.append(f"  {key}: {shown}")
    files = [(f["file"], f"{f['size']} bytes", f"sha256 {f['sha256'][:12]}") for f in provenance.get("files", [])]
    return lines + text_table(files, right={1})
