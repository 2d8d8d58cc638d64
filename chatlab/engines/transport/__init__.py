"""From an address to the events of an answer: what is checked before, counted meanwhile, hidden after; ``connection`` alone does I/O."""
