"""The figures of a study, one a file: NAME, CAPTION, APPLIES(study) and draw(study, base). `analysis.scan` finds them.

`draw` writes base.svg, base.pdf and base.png and is asked only where APPLIES(study) is true: no figure is empty.
"""
