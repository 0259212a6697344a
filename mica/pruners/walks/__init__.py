"""Random walks through a network's channels."""
