"""How many examples a property test draws: a few in `make test`, all of them in `make test-slow` and in a plain `pytest`."""

from hypothesis import HealthCheck, settings

FAST_EXAMPLES = 25


def load_profiles() -> None:
    """Register `fast`, which `make test` names, and `full`, which holds otherwise. Neither has a deadline."""
    unhurried = settings(parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("full", parent=unhurried)  # of what runs in CI, which is the same at each run, the rest stays
    settings.register_profile("fast", parent=unhurried, max_examples=FAST_EXAMPLES)
    settings.load_profile("full")


def examples(full: int) -> settings:
    """Draw that many examples in the full profile, where Hypothesis' own hundred are not the right number."""
    return settings(max_examples=min(full, FAST_EXAMPLES) if settings.get_current_profile_name() == "fast" else full)
