"""Mechanisms without physics, which every chapter leans on.

What an error says of a wrong name (``messages``) and of a wrong argument (``checks``); files written completely or not
at all (``files``), archives of arrays (``archives``) and checkpoints of toys made of them (``store``); many tasks on
any executor (``tasks``), which may be opened by name (``executors``); numbers and tables as text (``text``).
"""
