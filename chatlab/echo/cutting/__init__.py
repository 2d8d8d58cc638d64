"""One generation as a program sees it, a way to cut the reply out of it, and what that did to the reply."""
