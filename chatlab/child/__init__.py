"""Work on strangers' files, done by a process of its own: limited in time and memory, without network, without programs."""
