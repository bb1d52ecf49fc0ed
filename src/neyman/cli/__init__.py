"""The commands, each little more than one call of the library.

``main`` puts them together: ``training``, ``fits``, ``toys``, and ``files`` with ``inspection``. They share their
``options``, what may be typed for one (``values``), and how results, errors and exit statuses come out (``console``).
"""
