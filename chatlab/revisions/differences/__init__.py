"""Tables of what differs between two views of a snapshot: names, numbers and texts of all of it, and no verdict."""
