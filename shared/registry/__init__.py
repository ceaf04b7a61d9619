"""Model versions that were trained here: registered, judged, promoted, shadowed, rolled back."""
