# Figures of this study beyond those that every study has.
FIGURES["spatial_attention"] += ["deformable", "windows"]
