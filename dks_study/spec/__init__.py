"""What a run and a study are: frozen, validated descriptions, and how YAML becomes one. Knows neither torch nor ray.

Read `trial.py` first (one training run), then `study.py` (a question); `pairing.py` says who teaches whom.
"""
