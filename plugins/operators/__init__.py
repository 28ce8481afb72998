"""Plain torch modules, one operator a file. Import the file you need: this package imports none of them."""
