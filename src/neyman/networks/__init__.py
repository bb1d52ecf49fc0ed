"""Networks: torch modules that know nothing of channels, samples or files, and the kinds that a user chooses from."""

from neyman.networks.kinds import names, register

__all__ = ["names", "register"]


def __dir__() -> list[str]:
    return __all__
