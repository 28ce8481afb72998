# Figures of this study beyond those that every study has.
FIGURES["aaconv"] += ["fractions"]
