"""Statistics: pure functions of plain numbers, in the unit that goes in; no folder is read here."""
