"""Model versions: architectures, artefacts, the registry and the engines that run them."""

import sys

# OpenVINO and NNCF tell their makers of each use, over the internet, where they find this package.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
