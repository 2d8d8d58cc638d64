"""One chat template through shapes of conversations: what of a conversation it loses, for whom, and why.

Every render is made in a child within limits, so the template may be a stranger's.
"""
