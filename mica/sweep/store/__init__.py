"""The store: what finished trials leave, durable and whole."""
