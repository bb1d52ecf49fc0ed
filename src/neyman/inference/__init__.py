"""Inference with any model that gives its exact gradient: fits, limits, intervals, toys, and posteriors.

Read ``parameters``, ``minimise``, ``profile`` and ``fit`` for fits; ``batch`` and ``toys`` for fits of many toys;
``statistics``, ``observed``, ``throws`` and ``calibrations`` for p-values. ``cls`` and ``limits``, ``significance``,
``construction`` with ``ends``, and ``coverage`` are made of those. ``critical`` learns critical values for all
parameters at once; ``learned_statistic`` is a test statistic that takes no fits. For posteriors read ``unbounded``,
``log_posterior``, ``nuts`` and ``posterior``.
"""
