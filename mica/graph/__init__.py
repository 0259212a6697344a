"""The network as layers, operations and channels; what signal reaches."""
