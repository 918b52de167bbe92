"""What source code is made of: languages, symbols, syntax. Python by its own parser, ten other languages by tree-sitter."""
