"""Measurements: ours beside a floor and a peer, round by round in the same run. ``make bench`` prints them all."""
