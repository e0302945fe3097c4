"""Who a request is from, as far as rip-server's fields tell it: workers hear of clients over a Unix socket only.

Never here: what is done with it.
"""

import ipaddress
import os


def networks(text):
    return [ipaddress.ip_network(network.strip()) for network in text.split(",") if network.strip()]


#: The proxies in front of the server, whose word it takes.
TRUSTED = networks(os.environ.get("RIP_TRUSTED_PROXIES", ""))


def client_of(forwarded, trusted=None):
    """The client's address from X-Forwarded-For, read from its end as the server reads it; None where it has none.

    The last entry is the server's peer. One of a trusted proxy is passed over for the one before it.
    """
    trusted = TRUSTED if trusted is None else trusted
    found = None
    for entry in reversed(forwarded.split(",")):
        address = address_of(entry.strip())
        if address is None:
            break
        found = str(address)
        if not any(address in network for network in trusted if network.version == address.version):
            break
    return found


def address_of(text):
    try:
        # Not `removeprefix`: an app may bring an older Python along.
        address = ipaddress.ip_address(text[text[:1] == "[" : len(text) - (text[-1:] == "]")])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
