"""System checks: each mistake an operator can make is a sentence at start."""
