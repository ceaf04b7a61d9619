"""What a clinician reads in Indonesian. ALL is LLA there: leukemia limfoblastik akut."""

from __future__ import annotations

from shared.triage.labels import Label
from shared.triage.policy import Reason
from shared.triage.wording.texts import Texts

INDONESIAN = Texts(
    display={
        Label.BENIGN: "pola sesuai dengan hematogon jinak",
        Label.EARLY: "pola sesuai dengan LLA Early Pre-B",
        Label.PRE: "pola sesuai dengan LLA Pre-B",
        Label.PRO: "pola sesuai dengan LLA Pro-B",
    },
    reasons={
        Reason.LOW_CONFIDENCE: (
            "tingkat keyakinan pada kelas yang diprediksi terlalu rendah, perlu peninjauan"
        ),
        Reason.SUBTYPE_UNCERTAIN: "pola sesuai dengan LLA, subtipe belum jelas",
        Reason.SEVERAL_LABELS: "lebih dari satu kelas mungkin sesuai",
        Reason.NO_LABEL_FITS: "tidak ada kelas yang cukup sesuai",
        Reason.ANOTHER_LABEL_FITS: "kelas lain selain kelas yang diprediksi mungkin sesuai",
        Reason.MEMBERS_DISAGREE: "model-model dalam ensemble tidak sepakat mengenai kelas",
        Reason.UNLIKE_TRAINING_DATA: (
            "citra tidak serupa dengan citra pelatihan model, prediksi mungkin tidak andal"
        ),
        Reason.INPUT_NOT_CHECKED: (
            "keserupaan dengan citra pelatihan tidak diperiksa, versi model tidak memiliki acuannya"
        ),
        Reason.OUT_OF_FOCUS: "citra tidak fokus",
        Reason.POOR_EXPOSURE: "citra terlalu gelap atau terlalu terang",
        Reason.LOW_CONTRAST: "kontras citra terlalu rendah",
        Reason.NOT_A_STAINED_SMEAR: "citra tidak tampak seperti apusan darah yang diwarnai",
        Reason.TOO_FEW_CELLS: "sel berinti yang ditemukan dalam citra terlalu sedikit",
    },
    policy={
        "routine follow-up": "tindak lanjut rutin",
        "manual verification": "verifikasi manual",
        "immediate specialist referral (haematology)": (
            "rujukan segera ke dokter spesialis (hematologi)"
        ),
        "priority review and confirmation": "peninjauan dan konfirmasi dengan prioritas",
        "manual review required, specialist consultation": (
            "perlu peninjauan manual, konsultasi dengan dokter spesialis"
        ),
        "standard": "standar",
        "24-48 h": "24-48 jam",
        "immediate": "segera",
        "12-24 h": "12-24 jam",
        "24 h": "24 jam",
    },
    one_field="lapang pandang {n}",
    named_fields="lapang pandang {first} dan {last}",
    counted_fields="{n} dari {all} lapang pandang",
    all_fields="semua {all} lapang pandang",
    disclaimer=(
        "alat bantu keputusan; bukan diagnosis; "
        "memerlukan konfirmasi oleh ahli hematologi yang berkompeten"
    ),
    limits=(
        "Dilatih dengan apusan dari satu lokasi dan satu mikroskop, tanpa pemisahan data menurut "
        "pasien; lapang pandang jinak adalah hematogon dari pasien yang diduga menderita LLA, "
        "bukan dari donor sehat."
    ),
)
