"""What runs in a browser: the drawing that the notebook's widgets and the server's page share, and each one's own part."""
