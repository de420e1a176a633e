"""The HTML page of what runs have."""

from .page import PAGE, write_page

__all__ = ['PAGE', 'write_page']
