"""What Ray reads when it is imported."""

import os

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    # of a machine that is busy with other tests, for which workers would else wait
    RAY_raylet_start_wait_time_s="300",
    RAY_worker_niceness="0",
)
