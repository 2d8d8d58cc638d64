"""What ChatStream answers beside chats, how its requests get into an application, and what it owns of a handler's."""
