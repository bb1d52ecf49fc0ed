"""Inspection: what a document or a model holds, as a JSON-able description and as text, and what will limit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyhf

from neyman.events import Ensemble, effective_events, size_warning
from neyman.inference.simulation import cost_warning
from neyman.model.channel import SimulatedSample
from neyman.model.constraints import constraints
from neyman.model.factors import purefunc_of
from neyman.model.model import Model
from neyman.results import SetReport, from_dict
from neyman.support.text import listed, text_table

if TYPE_CHECKING:
    from neyman.inputs.simulator import Simulator
    from neyman.inputs.workspace import Workspace

__all__ = ["of_model", "of_simulator", "of_workspace", "provenance_lines", "text"]


def __dir__() -> list[str]:
    return __all__


_DATASETS = 20  # of a simulator, whose numbers of events are averaged


@dataclass(frozen=True)
class _Learned:
    """What the events of a learned channel are, and how many of each sample are simulated."""

    features: Sequence[str]
    simulated: Mapping[str, SimulatedSample] = field(default_factory=dict)


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
        learned[name] = _Learned(
            simulation.features,
            {
                sample: SimulatedSample(
                    len(events), effective_events(events.weights), tuple(simulation.variations.get(sample, ()))
                )
                for sample, events in simulation.samples.items()
            },
        )
    blind = set(workspace.channels) - {entry["name"] for entry in workspace.document.get("observations", [])}
    model = Model(workspace.spec(), {}, poi_name=workspace.poi_name)
    return _described(model, learned, None if blind else workspace.observed())


def of_model(model: Model) -> dict[str, Any]:
    """Describe a model.

    Args:
        model: the model.

    Returns:
        What :func:`of_workspace` gives, ``provenance``, and the ``training`` report of each learned channel.
    """
    learned = {
        name: _Learned(channel.features, channel.source.simulated if channel.source else {})
        for name, channel in model.learned.items()
    }
    found = _described(model, learned, model.observed_ensemble, model.provenance.get("simulation"))
    for channel in found["channels"]:
        if channel["name"] in model.learned and model.learned[channel["name"]].owns_number:
            for sample in channel["samples"]:
                sample["yield"] = None  # the network knows it, and nobody else
                sample["modifiers"] = list(model.learned[channel["name"]].parameters)
    for report in model.report:
        bad = [report.verdict] if isinstance(report, SetReport) and not report.good else []
        found["warnings"] += [f"{report.channel}: {text}" for text in (*bad, *report.warnings)]
    return {**found, "provenance": model.provenance, "training": [report.to_dict() for report in model.report]}


def of_simulator(simulator: Simulator) -> dict[str, Any]:
    """Describe a simulator, with the average number of events in a few datasets at the initial parameters.

    Args:
        simulator: the simulator.

    Returns:
        What :func:`of_workspace` gives.
    """
    numbers = [len(simulator.draw(simulator.inits, [0, t])) for t in range(_DATASETS)]
    model = pyhf.Model(simulator.spec(), poi_name=simulator.poi)
    for name in simulator.names:  # one number each, and so its name has no index
        model.config.param_set(name).is_scalar = True
    found = _described(model, {simulator.channel: _Learned(simulator.columns)}, None)
    found["channels"][0]["samples"][0]["yield"] = float(np.mean(numbers))
    return {**found, "warnings": []}


def _described(
    model: pyhf.Model,
    learned: Mapping[str, _Learned],
    observed: Ensemble | None,
    cost: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe the inner model, and what is known of the events of its learned channels and of what their size costs.

    Before a training and in older model files, where that is not known, the sizes have to do.
    """
    channels = [_channel(channel, learned.get(channel["name"]), observed) for channel in model.spec["channels"]]
    warnings = [
        f"{channel['name']}, {sample['name']}: {warning}"
        for channel in channels
        for sample in channel["samples"]
        if cost is None and "effective" in sample and (warning := size_warning(sample["yield"], sample["effective"]))
    ]
    if cost and (text := cost_warning(**cost)):
        warnings.append(text)
    if observed is None or not {channel["name"] for channel in channels} <= {*observed.events, *observed.counts}:
        warnings.append("there are no observations for all channels: fits and limits need --data or --asimov")
    config, terms = model.config, constraints(model)
    parameters = [
        {"name": name, "init": init, "bounds": list(bounds), "fixed": fixed, "constraint": terms.get(name)}
        for name, init, bounds, fixed in zip(
            config.par_names, config.suggested_init(), config.suggested_bounds(), config.suggested_fixed(), strict=True
        )
    ]
    modifier = purefunc_of(model)
    bindings = {} if modifier is None else {"bindings": {name: str(modifier.bindings[name]) for name in modifier.names}}
    return {"poi": config.poi_name, "channels": channels, **bindings, "parameters": parameters, "warnings": warnings}


def _channel(channel: Mapping[str, Any], learned: _Learned | None, observed: Ensemble | None) -> dict[str, Any]:
    """Describe a channel of a HistFactory specification."""
    name, samples = channel["name"], []
    for sample in channel["samples"]:
        simulated = learned.simulated.get(sample["name"]) if learned else None
        shapes = simulated.shapes if simulated else ()
        modifiers = [
            f"{m['name']} ({m['type']}{' and shape' if m['name'] in shapes else ''})" for m in sample["modifiers"]
        ]
        described = {"name": sample["name"], "yield": float(np.sum(sample["data"])), "modifiers": modifiers}
        if simulated:
            described |= {"simulated": simulated.number, "effective": simulated.effective}
        samples.append(described)
    number = None
    if observed is not None and name in observed.events:
        number = float(observed.events[name].weights.sum())
    elif observed is not None and name in observed.counts:
        number = float(np.sum(observed.counts[name]))
    kind = {"features": list(learned.features)} if learned else {"bins": len(channel["samples"][0]["data"])}
    return {"name": name, "samples": samples, "observed": number, **kind}


def text(found: Mapping[str, Any]) -> str:
    """Return a description as text to be read.

    Args:
        found: what :func:`of_workspace`, :func:`of_model` or :func:`of_simulator` returned.
    """
    lines = [f"parameter of interest: {found['poi'] or 'none'}"]
    for channel in found["channels"]:
        lines += ["", *_channel_lines(channel)]
    lines += ["", *text_table([("parameter", "start", "bounds", "constraint"), *_parameter_rows(found)], {1}, "")]
    if found.get("bindings"):
        lines += ["", *text_table([("modifier", "is"), *found["bindings"].items()], set(), "")]
    if "training" in found:
        lines += ["", *provenance_lines(found["provenance"])]
        for report in found["training"]:
            lines += ["", *repr(from_dict(report)).splitlines()]
    lines += ["", *(f"warning: {warning}" for warning in found["warnings"])] if found["warnings"] else []
    return "\n".join(lines)


def _channel_lines(channel: Mapping[str, Any]) -> list[str]:
    learned = "features" in channel
    rows = [("sample", "yield", "simulated", "modifiers")]
    for sample in channel["samples"]:
        expected = "learned" if sample["yield"] is None else f"{sample['yield']:.5g}"
        rows.append((sample["name"], expected, f"{sample.get('simulated', '')}", ", ".join(sample["modifiers"])))
    if channel["observed"] is not None:
        rows.append(("observed", f"{channel['observed']:.5g}", "", ""))
    if learned:
        return [
            f"channel {channel['name']}: learned from {listed(channel['features'])}",
            *text_table(rows, right={1, 2}),
        ]
    without = [(name, expected, modifiers) for name, expected, _, modifiers in rows]
    return [f"channel {channel['name']}: {channel['bins']} bins", *text_table(without, right={1})]


def _parameter_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for parameter in found["parameters"]:
        term, (low, high) = parameter["constraint"], parameter["bounds"]
        kind = "free" if term is None else f"{term[0]:.5g} +/- {term[1]:.3g}"
        kind = "fixed" if parameter["fixed"] else kind
        rows.append((parameter["name"], f"{parameter['init']:.5g}", f"{low:g} to {high:g}", kind))
    return rows


def provenance_lines(provenance: Mapping[str, Any]) -> list[str]:
    """Return where something trained comes from, as lines to be read."""
    if "combined" in provenance:
        return [line for part in provenance["combined"] for line in provenance_lines(part)]
    lines = ["provenance"]
    for key, value in provenance.items():
        if key == "files":
            continue
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else value
        lines.append(f"  {key}: {shown}")
    files = [
        (f["file"], f"{f['size']} bytes", f"sha256 {f.get('sha256', f.get('sha256_ends', ''))[:12]}")
        for f in provenance.get("files", [])
    ]
    return lines + text_table(files, right={1})
