"""Figures of results, made without pyplot; nothing here refits."""
