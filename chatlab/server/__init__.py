"""Chats over HTTP: who may run and who waits, sessions, the wires, and the class that ChatStream's programs know."""

from chatlab.errors import ServerExtraMissing

try:
    import fastapi as _fastapi  # noqa: F401 - asked for once, for the whole room
except ImportError as _error:
    raise ServerExtraMissing(
        f"chatlab.server needs fastapi, which is not installed ({_error}): pip install 'chatlab-research[server]'"
    ) from _error
