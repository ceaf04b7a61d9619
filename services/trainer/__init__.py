"""The trainer: data set versions, splits, training, evaluation and export."""
