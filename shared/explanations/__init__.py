"""What shows a haematologist why a model said what it said."""
