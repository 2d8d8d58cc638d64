"""How a turn is told on the wire: ChatStream's own form, plain deltas, and server-sent events. No I/O here."""
