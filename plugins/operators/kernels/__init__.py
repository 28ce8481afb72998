"""Products of attention in blocks: what the operators share below their formulas. Import the file you need."""
