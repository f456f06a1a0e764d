"""How Hypothesis runs: without a deadline, for machines differ; in CI with the same examples each time."""

import os

from hypothesis import settings

settings.register_profile("default-without-deadline", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default-without-deadline")
