"""What ``chatlab serve`` puts round the faces: the app that joins them, the page, and a port of this machine."""
