"""How the families of models delimit reasoning and tool calls: one file builds, one tells which, one reads calls."""
