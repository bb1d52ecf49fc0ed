"""Inference: fits, scans and limits of any model with an exact gradient."""
