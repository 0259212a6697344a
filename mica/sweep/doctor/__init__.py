"""Can this machine, or this cluster, run this sweep? Asks every node, and says how to mend what is wrong."""
