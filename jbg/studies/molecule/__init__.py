"""Studies of molecules."""
