"""Posteriors that a network gives: of the parameters and of what is local to each event, for any dataset."""
