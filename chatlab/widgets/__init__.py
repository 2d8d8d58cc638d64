"""Live views and pictures of results for notebooks: the only room that knows ipywidgets and anywidget."""
