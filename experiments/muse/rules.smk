# Figures that this study has beside those of every study.
FIGURES["muse"] += ["kernels", "lengths", "gates", "dispersion"]
