"""From inputs to a model: the networks' training, and the verdict on it."""
