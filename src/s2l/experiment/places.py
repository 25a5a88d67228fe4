"""Names in an experiment's folder that others look for."""

RESULT = "experiment.json"
PROXIES = "proxies"
