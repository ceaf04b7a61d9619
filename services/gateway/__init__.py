"""The DICOM gateway: takes images by C-STORE, as the API does over HTTP."""
