"""What every command needs and no layer above knows: errors, files, seeds, configs, checks."""
