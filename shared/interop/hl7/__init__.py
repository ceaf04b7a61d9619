"""HL7 version 2: results out, over MLLP."""
