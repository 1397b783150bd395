"""How one network is trained: data, optimiser, metrics, checkpoints. Knows nothing of Ray.

Read `trainer.py` first: `fit` is the training loop. `data/` holds the data sets.
"""
