"""A chat request and its course: what it asks, how a session answers, a turn to its end, and the mock."""
