"""What is logged at the level that tells most."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, TiffImagePlugin

DECODES = """
import io, logging, sys
from pathlib import Path
from shared.imaging.decode import decode_image
from shared.logging import configure_logging
configure_logging(sys.argv[1], service="tests")
logging.getLogger("shared.some.part").debug("of ours")
logging.getLogger("services.some.part").debug("of ours")
decode_image(io.BytesIO(Path(sys.argv[2]).read_bytes()), max_pixels=10**6)
"""
IMAGE_DESCRIPTION, ARTIST = 270, 315


@pytest.mark.parametrize(("level", "ours"), [("DEBUG", 2), ("INFO", 0), ("ERROR", 0)])
def test_libraries_never_log_what_they_read(tmp_path: Path, level: str, ours: int) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[IMAGE_DESCRIPTION], tags[ARTIST] = "Doe^Jane", "Doe^John"
    image = tmp_path / "image.tiff"
    Image.new("RGB", (64, 64), "white").save(image, tiffinfo=tags)
    command = [sys.executable, "-c", DECODES, level, image]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.count("of ours") == ours
    assert "Doe" not in done.stderr
