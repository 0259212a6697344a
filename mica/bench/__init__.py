"""What mica costs on this machine: a training step, a mask, a trial."""
