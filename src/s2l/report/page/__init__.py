"""The page of a run: gather what it shows, draw it as one HTML file, or as figures for papers."""
