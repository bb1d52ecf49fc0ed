"""Critical values learned over all parameters at once, from toys thrown everywhere.

``values`` is what is learned; ``learning`` throws the toys and fits a ``surface`` to them, by the numerics of
``regression``.
"""
