"""Tables, statistics and figures from a results folder; needs neither torch nor ray."""
