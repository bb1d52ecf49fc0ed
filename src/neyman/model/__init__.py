"""The likelihood: a pyhf model in which the data of learned channels are events.

pyhf's part comes first: expected rates (``rates``) and constraint terms (``constraints``) with exact derivatives. A
learned channel keeps one protocol (``channel``) of which there are two kinds. A mixture (``mixture``,
``mixture_ratio``) has classifiers that are calibrated (``calibration``), shape systematics (``variations``) that are
normalised (``normalisation``) over its simulated events (``pool``), and sums that make a dataset a vector
(``expansion``). A dataset-wide network (``setwise``, ``setwise_ratio``) takes the samples' ``shares``. Datasets come
from ``sources``: toys (``toys``), Asimov ensembles (``asimov``). The model itself (``model``) packs data (``data``),
reads other ``observations``, makes a ``summary`` of them, has pyhf's density (``pdf``) and a ``file`` (a mixture's
part of it: ``mixture_file``); ``plain`` makes one of a plain pyhf model.
"""
