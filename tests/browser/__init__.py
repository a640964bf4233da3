"""The explorers in JupyterLab, in a real browser."""
