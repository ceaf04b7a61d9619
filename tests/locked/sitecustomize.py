"""Python begins with this in each process whose PYTHONPATH has this folder.

A process of a service then finds no package but those that its image holds, as the lock files say.
`HEMOTRIAGE_TEST_FOREIGN` is JSON: what each image does not hold, by its name.
"""

import importlib.abc
import json
import os
import sys

_IMAGES = {
    "services.api": "api",
    "services.cli": "api",
    "services.trainer": "trainer",
    "services.worker.explainer": "explainer",
    "services.worker": "worker",
}
_OWN = "HEMOTRIAGE_TEST_IMAGE"


class _Missing(importlib.abc.MetaPathFinder):
    def __init__(self, image: str, foreign: set[str]) -> None:
        self._image, self._foreign = image, foreign

    def find_spec(self, fullname, path, target=None):
        del path, target
        if fullname.partition(".")[0] in self._foreign:
            message = f"No module named {fullname!r} in the image of the {self._image}"
            raise ModuleNotFoundError(message, name=fullname)


def _image() -> str | None:
    """That of the module which this process was started for, or of the process that started it."""
    named = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
    return next((_IMAGES[start] for start in _IMAGES if named.startswith(start)), os.getenv(_OWN))


if (image := _image()) is not None:
    os.environ[_OWN] = image
    missing = set(json.loads(os.environ["HEMOTRIAGE_TEST_FOREIGN"])[image])
    sys.meta_path.insert(0, _Missing(image, missing))
