"""Models and architectures: fairseq imports every file here; layers and operators load when a model is built."""
