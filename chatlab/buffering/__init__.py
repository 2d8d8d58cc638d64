"""Text that arrives in fragments: replaced, stopped, and held back no longer than it must be."""
