"""What a clinician reads in English."""

from __future__ import annotations

from shared.triage.labels import Label
from shared.triage.policy import Reason
from shared.triage.wording.texts import Texts

ENGLISH = Texts(
    display={
        Label.BENIGN: "pattern consistent with benign haematogones",
        Label.EARLY: "pattern consistent with Early Pre-B ALL",
        Label.PRE: "pattern consistent with Pre-B ALL",
        Label.PRO: "pattern consistent with Pro-B ALL",
    },
    reasons={
        Reason.LOW_CONFIDENCE: "confidence in the predicted class too low to go without review",
        Reason.SUBTYPE_UNCERTAIN: "pattern consistent with ALL, subtype uncertain",
        Reason.SEVERAL_LABELS: "more than one class possible",
        Reason.NO_LABEL_FITS: "no class fits well enough",
        Reason.ANOTHER_LABEL_FITS: "a class other than the predicted one is possible",
        Reason.MEMBERS_DISAGREE: "models of the ensemble disagree on the class",
        Reason.UNLIKE_TRAINING_DATA: (
            "image unlike those that the model was trained on, prediction may be unreliable"
        ),
        Reason.INPUT_NOT_CHECKED: (
            "likeness to the training images not checked, model version has no reference for it"
        ),
        Reason.OUT_OF_FOCUS: "image out of focus",
        Reason.POOR_EXPOSURE: "image too dark or too bright",
        Reason.LOW_CONTRAST: "image with too little contrast",
        Reason.NOT_A_STAINED_SMEAR: "image does not look like a stained blood smear",
        Reason.TOO_FEW_CELLS: "too few nucleated cells found in the image",
    },
    policy={},  # its table is in English
    one_field="field {n}",
    named_fields="fields {first} and {last}",
    counted_fields="{n} of {all} fields",
    all_fields="all {all} fields",
    disclaimer=(
        "decision support; not a diagnosis; requires confirmation by a qualified haematologist"
    ),
    limits=(
        "Trained on smears of one site and one microscope, without a patient-level split; "
        "benign fields are haematogones of patients suspected of ALL, not of healthy donors."
    ),
)
