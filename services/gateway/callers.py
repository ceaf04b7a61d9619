"""Who may send: application entities by their titles, and by their addresses where told."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True)
class Callers:
    """The entries of `HEMOTRIAGE_DICOM_CALLING_AES`; an address of None stands for any."""

    entries: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> Callers:
        """Read entries, `AE` or `AE@ADDRESS`, by comma.

        Raises:
            ValueError: What follows an `@` is no IP address.
        """
        entries = []
        for entry in filter(None, text.split(",")):
            title, _, address = entry.partition("@")
            entries.append((title.strip(), _plain(address) if address else None))
        return cls(tuple(entries))

    @property
    def titles(self) -> list[str]:
        """The AE titles that may call."""
        return sorted({title for title, _ in self.entries})

    def may_connect(self, address: str) -> bool:
        """Whether there is anybody at an address who may send."""
        return any(where in (None, _plain(address)) for _, where in self.entries)

    def allow(self, title: str, address: str) -> bool:
        """Whether an application entity may send from an address."""
        return any(
            title.strip() == known and where in (None, _plain(address))
            for known, where in self.entries
        )


def _plain(address: str) -> str:
    """One way to write each address; IPv4 in IPv6 is IPv4."""
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)
