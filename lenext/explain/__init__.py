"""Looking inside a network: what a place of it is made of, read from the module itself."""
