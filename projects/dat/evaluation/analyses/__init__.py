"""The source's analyses: each a file, whose ``analyze`` measures, draws and writes."""
