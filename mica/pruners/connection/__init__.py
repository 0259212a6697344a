"""What MiCA is made of: channel order, node counts, repair."""
