"""Which port an address leads to, on one node: pids, paths, names, and written keys."""

from __future__ import annotations

from collections.abc import Iterable

from otp.ports import Port


class LocalAddresses(dict[str, Port]):
    """Address -> port; each port knows what leads to it, so that its end is quick."""

    def lead(self, addresses: Iterable[str], port: Port) -> None:
        """These lead to this port from now on."""
        for address in addresses:
            self[address] = port
            port.addresses.append(address)

    def mislead(self, addresses: Iterable[str], port: Port) -> None:
        """These do no longer."""
        for address in addresses:
            if self.get(address) is port:
                del self[address]
                port.addresses.remove(address)

    def free(self, port: Port) -> None:
        """Nothing leads there any more."""
        for address in port.addresses:
            if self.get(address) is port:
                del self[address]
