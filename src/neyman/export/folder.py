"""A model as a folder for other programs: an ONNX graph for each learned channel, and the likelihood as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

from neyman.exceptions import Unsupported
from neyman.export.likelihood import likelihood_document
from neyman.export.ratios import ratios_graph
from neyman.model.mixture import MixtureChannel
from neyman.model.model import Model
from neyman.support.files import replacing

__all__ = ["export_onnx"]


def __dir__() -> list[str]:
    return __all__


_LIKELIHOOD = "likelihood.json"


def export_onnx(model: Model, folder: str | Path) -> dict[str, Path]:
    r"""Write a model for programs without neyman: its learned ratios as ONNX, and how the likelihood is made of them.

    A learned channel's file, named like the channel, takes the features of events and gives for each event

    .. math::

        g_c(x), \quad a_k(x), \quad b_k(x), \qquad
        \log m_c(x | \alpha) = \sum_k a_k \alpha_k + b_k v(\alpha_k) - \log Z_c(\alpha)

    as ``ratios``, ``slopes`` and ``curvatures``: scaling of the features, all networks, the choice of one by a hash of
    the event, or their mean, and both steps of the calibration are inside the graph. ``likelihood.json`` has everything
    else: parameters, constraint terms, the HistFactory specification of the rates, which variation belongs to which
    sample and parameter, the normalisations :math:`Z_c`, and a small dataset with its log-likelihood for a check.

    Args:
        model: the model, whose learned channels are all mixtures.
        folder: where the files go; it is made if it does not exist, and files of the same names are replaced.

    Returns:
        The files, by channel, and ``"likelihood"``.

    Raises:
        Unsupported: if a channel has a network of whole datasets, which has no ratio of single events; or if onnx is
            not installed.
        OSError: if the files cannot be written.

    Example:
        >>> import tempfile
        >>> import neyman
        >>> channel = {"name": "CR", "samples": [{"name": "background", "data": [50.0, 60.0], "modifiers": [
        ...     {"name": "mu", "type": "normfactor", "data": None}]}]}
        >>> model = neyman.Model({"channels": [channel]}, {}, poi_name="mu")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(neyman.export_onnx(model, folder))
        ['likelihood']
    """
    graphs = {}
    for name, channel in model.learned.items():
        if not isinstance(channel, MixtureChannel):
            raise Unsupported(
                f"channel {name}: its network ({channel.kind}) gives the ratio of a whole dataset, not of single"
                " events: only mixtures can be exported"
            )
        graphs[name] = ratios_graph(channel)
    folder = Path(folder)
    names = _file_names(list(graphs))
    document = json.dumps(likelihood_document(model, names), allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, graph in graphs.items():
        found[name] = folder / names[name]
        with replacing(found[name]) as stream:
            stream.write(graph.SerializeToString())
    with replacing(folder / _LIKELIHOOD) as stream:  # last, for it names the others
        stream.write(document.encode() + b"\n")
    return {**found, "likelihood": folder / _LIKELIHOOD}


def _file_names(channels: list[str]) -> dict[str, str]:
    """Return a file name for each channel: its own, but for what a file system or a shell may not like."""
    names: dict[str, str] = {}
    for channel in channels:
        stem = re.sub(r"[^\w.-]+", "_", channel)
        while f"{stem}.onnx".lower() in (name.lower() for name in names.values()):
            stem += "_"
        names[channel] = f"{stem}.onnx"
    return names
