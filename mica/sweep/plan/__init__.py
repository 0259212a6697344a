"""The plan: from a sweep file to its trials, and what they cost."""
