"""The middlewares of the pipeline, one file each; none knows another. ``client.py`` puts them in order."""
