"""DICOM: images in, structured reports out."""
