"""Rules that keep containers off the host and its neighbours: ports, the engine, private networks, cloud metadata.

``icc=false`` stops containers talking to one another, but leaves every port of the host open to them. Chains of our
own per agent, so that putting them up twice changes nothing and taking them down leaves no trace. What ``Policy`` does
not name stays open outward. Owns no bridge; the docker runtime makes them (``runtimes.engine_networks``).
"""

import asyncio
import logging
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

log = logging.getLogger(__name__)

PRIVATE_NETWORKS = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",  # carriers' and overlay networks
    "169.254.0.0/16",  # link-local: where clouds serve their metadata and credentials
)

_TIMEOUT_S = 20
_BRIDGE_NF = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
# The engine asks from inside the container's network; where the first names only a local stub it reads the second.
_RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_REFUSE = ["-j", "REJECT", "--reject-with", "icmp-admin-prohibited"]  # an error at once, instead of a long silence


class FirewallUnavailable(Exception):
    """iptables could not be used; the message says why."""


@dataclass(frozen=True)
class Policy:
    """Where containers may not go, and the exceptions. IPv4; containers have no IPv6, and may not send any."""

    blocked: tuple[IPv4Network, ...] = tuple(map(IPv4Network, PRIVATE_NETWORKS))
    allowed: tuple[IPv4Network, ...] = ()


@dataclass(frozen=True)
class Chain:
    """A chain of ours, and the chain that sends it the traffic of our bridges."""

    program: str
    parent: str
    name: str
    rules: tuple[list[str], ...] = ()


def cluster_bridges(bridge: str) -> Iterator[str]:
    """Names for the bridges of clusters, of at most 15 characters as all interfaces: the rules go by how they begin."""
    return (f"{_clusters(bridge)}{number:02x}" for number in range(256))


def _clusters(bridge: str) -> str:
    """How the names of all bridges of clusters begin; ``bridge`` itself does not."""
    return f"{bridge}c"


def chains(bridge: str, policy: Policy, resolvers: Iterable[IPv4Address] = ()) -> tuple[list[Chain], list[Chain]]:
    """What must be there, and what is a second lock on a door that the engine keeps shut (IPv6). Pure.

    ``resolvers`` stay reachable at their port alone: without them no name could be looked up in a blocked network. What
    goes from a cluster's bridge to a cluster's bridge is left to the engine, which keeps one out of another.
    """
    into, through = f"{bridge.upper()}-IN", f"{bridge.upper()}-FWD"
    answers = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"]
    # The host may talk to containers (and get answers); they may not begin.
    own_ports = (answers, ["-j", "DROP"])
    blocked_resolvers = [one for one in resolvers if any(one in network for network in policy.blocked)]
    names = [
        ["-d", f"{one}/32", "-p", protocol, "-m", protocol, "--dport", "53", "-j", "RETURN"]
        for one in blocked_resolvers
        for protocol in ("udp", "tcp")
    ]
    exceptions = [["-d", str(network), "-j", "RETURN"] for network in policy.allowed]
    _, clusters = _interfaces(bridge)
    among_clusters = ["-i", clusters, "-o", clusters, "-j", "RETURN"]
    refused = [["-d", str(network), *_REFUSE] for network in policy.blocked]
    needed = [
        Chain("iptables", "INPUT", into, own_ports),
        Chain("iptables", "DOCKER-USER", through, (among_clusters, *names, *exceptions, *refused, ["-j", "RETURN"])),
    ]
    second = [
        Chain("ip6tables", "INPUT", into, own_ports),
        Chain("ip6tables", "FORWARD", through, (["-j", "DROP"],)),
    ]
    return needed, second


async def ensure(bridge: str, policy: Policy) -> list[str]:
    """Put the rules up. Returns what is less closed than it should be, as sentences; raises nothing."""
    said = []
    needed, second = chains(bridge, policy, resolvers_in(*map(_text_of, _RESOLVER_FILES)))
    try:
        for chain in needed:
            await _put_up(bridge, chain)
    except FirewallUnavailable as error:
        said.append(
            f"Containers can reach ports of this host and private networks: {error}. Install iptables and run the "
            "agent as root, or close the ports yourself."
        )
    else:
        try:
            for chain in second:
                await _put_up(bridge, chain)
        except FirewallUnavailable as error:
            log.debug("ip6tables: %s", error)
    if not _bridge_traffic_is_filtered():
        said.append(
            f"Containers can reach each other: {_BRIDGE_NF} is not 1. "
            "Load br_netfilter and set net.bridge.bridge-nf-call-iptables=1."
        )
    return said


async def remove(bridge: str) -> None:
    """Take the rules down; those that are not there are no error."""
    needed, second = chains(bridge, Policy())
    for chain in (*needed, *second):
        jumps = [["-D", chain.parent, "-i", interface, "-j", chain.name] for interface in _interfaces(bridge)]
        for arguments in (*jumps, ["-F", chain.name], ["-X", chain.name]):
            try:
                await _run(chain.program, *arguments)
            except FirewallUnavailable as error:
                log.debug("%s %s: %s", chain.program, " ".join(arguments), error)


def resolvers_in(*texts: str) -> list[IPv4Address]:
    """The name servers of ``resolv.conf`` files that lie outside this host, without repetition."""
    found: dict[IPv4Address, None] = {}
    for line in "\n".join(texts).splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                address = IPv4Address(words[1])
            except ValueError:  # IPv6, which containers cannot send
                continue
            if not address.is_loopback:
                found[address] = None
    return list(found)


async def _put_up(bridge: str, chain: Chain) -> None:
    """Make the chain hold exactly these rules, in one step: no moment without them."""
    lines = ["*filter", f":{chain.name} - [0:0]", *(" ".join(["-A", chain.name, *rule]) for rule in chain.rules)]
    await _run(f"{chain.program}-restore", "--noflush", given="\n".join([*lines, "COMMIT", ""]))
    for interface in _interfaces(bridge):
        await _jump(chain.program, chain.parent, interface, chain.name)


async def _jump(program: str, parent: str, interface: str, chain: str) -> None:
    """From ``parent`` to ``chain`` for traffic of our bridges, before any rule that might let it through."""
    rule = ["-i", interface, "-j", chain]
    if not await _holds(program, parent, rule):
        await _run(program, "-I", parent, "1", *rule)


def _interfaces(bridge: str) -> tuple[str, str]:
    """The bridge, and those of clusters, in iptables' words."""
    return bridge, f"{_clusters(bridge)}+"


async def _holds(program: str, chain: str, rule: list[str]) -> bool:
    try:
        await _run(program, "-C", chain, *rule)
    except FirewallUnavailable:
        return False
    return True


async def _run(program: str, *arguments: str, given: str = "") -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            program, "-w", "5", *arguments, stdin=PIPE, stdout=DEVNULL, stderr=PIPE
        )
    except OSError as error:
        raise FirewallUnavailable(f"{program} cannot be run ({error.strerror})") from error
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, err = await process.communicate(given.encode())
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise FirewallUnavailable(f"{program} did not answer in {_TIMEOUT_S} s") from error
    if process.returncode != 0:
        raise FirewallUnavailable(f"{program} says: {err.decode(errors='replace').strip().splitlines()[:1]}")


def _bridge_traffic_is_filtered() -> bool:
    try:
        return _BRIDGE_NF.read_text().strip() == "1"
    except OSError:
        return False


def _text_of(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
