"""How the suite is built: operators, framework glue, data sets, the life of a run."""
