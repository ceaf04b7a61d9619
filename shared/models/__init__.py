"""Model versions: architectures, artefacts, the registry and the engines that run them."""
