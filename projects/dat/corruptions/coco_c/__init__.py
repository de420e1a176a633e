"""COCO-C as a folder of files: building it, going on with it, checking it."""
