"""Row formats → Pool; Pool → Tokens; Selection → files."""
