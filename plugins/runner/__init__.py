"""One run: resolve its spec, seed, train, evaluate, measure, write metrics.json."""
