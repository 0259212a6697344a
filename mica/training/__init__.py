"""Training: protocol, images on the device, one epoch after another."""
