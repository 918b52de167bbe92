"""Lexical retrieval of symbols: outlines of files, their words, BM25."""
