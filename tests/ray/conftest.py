"""What Ray reads when it is imported, or when it starts."""

import os

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_worker_niceness="0",  # or workers wait for all other tests
)
