"""Networks: torch modules that know nothing of channels, samples or files."""
