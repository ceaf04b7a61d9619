"""Workitems of UPS-RS (PS3.18, chapter 11): read from requests, and written as DICOM JSON."""
