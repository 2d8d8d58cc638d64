"""Bodies of requests, read into checked values: pure, and nothing in them is passed over in silence."""
