"""What editors and pages show of the language: colours, and the language server."""
