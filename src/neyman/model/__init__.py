"""The likelihood: a pyhf model in which the data of learned channels are events."""
