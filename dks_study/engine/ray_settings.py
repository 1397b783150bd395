"""Environment variables that Ray reads when it is imported: set before that, in the process that starts a study."""

import os

# Each was measured or seen to matter; a value set by the user wins.
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own tables: the display is ours
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # a group's start and end wait up to this long (default 2 s)
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # Train runs in the dashboard's REST interface
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray 2.60 warns without it that this will be the default
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a relative data.root means the same in every process
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours lets running epochs end
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # how many trials wait is decided by us
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's snapshots are never read: the ledger is the truth
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
_ALONE = {
    # An idle process for each CPU (80 MB, 0.4 s) that no trial could use: Tune's have an environment of their own.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more for each trial; of use where nodes can be taken away
    # Despite its name: with 0 every port of a Ray that starts here listens on 127.0.0.1 alone (seen with ss, Ray 2.60).
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


def use_ray_settings(*, alone: bool) -> None:
    """Set them for a Ray that is started here for this machine `alone`, or for a cluster that is joined."""
    for name, value in (_ALWAYS | _ALONE if alone else _ALWAYS).items():
        os.environ.setdefault(name, value)
