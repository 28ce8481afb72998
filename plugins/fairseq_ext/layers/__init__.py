"""One file an operator of the translation models: it ties the operator to fairseq's layers.

OPTION names the model option of a recipe or arm that asks for the file's operator, TASKS the tasks that have it.
Nothing here is imported before a model asks for it.
"""
