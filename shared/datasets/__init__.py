"""Data set versions: labelled images that models are trained and tested on."""
