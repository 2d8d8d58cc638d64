"""What commands are made of: the shell around them, their verdicts, reports, completion, a user's own code."""
