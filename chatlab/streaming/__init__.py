"""Token ids to text deltas, and the generator that joins engine, detokenizer and buffering."""
