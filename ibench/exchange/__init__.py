"""Out and in: records as other programs keep results, and their results as published rows.

A room beside `ibench.report`: both are views of records, neither knows of the other. There is one module for a format,
of plain functions: records to what the format holds (`model_index`, `mteb`, `wandb`, `mlflow`), or a parsed JSON file
to rows (`mteb`, `clip_benchmark`, `lm_eval`). `outgoing` and `incoming` are what the command line calls; only they and
the two trackers touch files. Which task of which program is ibench's own is data: tasks/counterparts.yaml.
"""
