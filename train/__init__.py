"""Training recipes of the papers, PyTorch layers on the golden arithmetic."""
