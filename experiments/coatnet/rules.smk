# Figures that this study has beside those of every study.
FIGURES["coatnet"] += ["generalisation", "capacity"]
