"""Tables in, figures and text out: what a sweep found, as the paper shows it."""
