"""Figures: in each module a pure function computes a frame, another one draws it; nothing is shown or saved here."""
