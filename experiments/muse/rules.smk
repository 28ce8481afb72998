# The kernel curve (BLEU against the size of the one kernel) is this study's own figure.
FIGURES["muse"].append("kernels")
