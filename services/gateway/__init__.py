"""The gateway: images by C-STORE, a worklist by C-FIND, and orders by HL7 over MLLP."""
