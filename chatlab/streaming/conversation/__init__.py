"""A conversation that is kept in ids: what a model saw and said is never encoded anew."""
