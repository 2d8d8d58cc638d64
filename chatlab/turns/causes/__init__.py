"""Why a border is lost: where its two sides differ, what can be done otherwise, and what that proves."""
