"""dks_study: does deep supervision with knowledge synergy help my network, and how should it be set up?"""

__version__ = "0.1.0"
