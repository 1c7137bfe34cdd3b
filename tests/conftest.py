"""Settings of the whole suite."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# Random tests look at new cases on every machine; in CI they look at the same ones, so that a red run is the change's.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("default", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# Started by nohup or in the background a suite inherits that Ctrl-C is ignored, and so would every process it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
