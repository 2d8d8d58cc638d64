"""Who asks: sessions of our own or a program's, and where their histories are kept."""
