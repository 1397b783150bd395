"""Who is told while a study runs: the terminal, `--status`, Prometheus, TensorBoard, MLflow, optuna-dashboard.

Read `progress.py` first (what is known), then `display.py` (how it is shown) and `status.py` (the same from a study's
files alone). Nothing here changes a number.
"""
