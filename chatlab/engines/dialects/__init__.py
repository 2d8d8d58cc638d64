"""What servers speak: pure readers and writers of their wire formats; the connection itself is ``engines.transport``."""
