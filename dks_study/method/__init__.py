"""DKS itself: the loss, auxiliary classifiers, and the networks that they are attached to.

Read `synergy.py` first (the loss, with its equation), then `branches.py` and `backbones/staged.py`; `own_loop.py` is
the front door for a training loop of one's own.
"""
