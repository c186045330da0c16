"""Rules that keep containers off the host: its ports, the engine, and the cloud's metadata address.

``icc=false`` stops containers talking to one another, but leaves every port of the host open to them. Two chains of our
own per bridge, so that putting them up twice changes nothing and taking them down leaves no trace. Outward internet
stays open. Owns no bridge; the docker runtime makes that.
"""

import asyncio
import logging
from pathlib import Path

log = logging.getLogger(__name__)

_TIMEOUT_S = 20
_BRIDGE_NF = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_LINK_LOCAL = "169.254.0.0/16"  # where clouds serve their metadata and credentials


class FirewallUnavailable(Exception):
    """iptables could not be used; the message says why."""


async def ensure(bridge: str) -> list[str]:
    """Put the rules up. Returns what is less closed than it should be, as sentences; raises nothing."""
    said = []
    try:
        await _rebuild(bridge, "iptables")
    except FirewallUnavailable as error:
        said.append(
            f"Containers can reach ports of this host: {error}. Install iptables and run the agent as root, "
            "or close the ports yourself."
        )
    else:
        # Docker gives containers no IPv6 address on this network; this is the second lock on that door.
        try:
            await _close_input(bridge, "ip6tables")
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
    for program, parent, chain in (
        ("iptables", "INPUT", _input_chain(bridge)),
        ("iptables", "DOCKER-USER", _forward_chain(bridge)),
        ("ip6tables", "INPUT", _input_chain(bridge)),
    ):
        for arguments in (["-D", parent, "-i", bridge, "-j", chain], ["-F", chain], ["-X", chain]):
            try:
                await _run(program, *arguments)
            except FirewallUnavailable as error:
                log.debug("%s %s: %s", program, " ".join(arguments), error)


async def _rebuild(bridge: str, program: str) -> None:
    await _close_input(bridge, program)
    await _fill(program, _forward_chain(bridge), [["-d", _LINK_LOCAL, "-j", "DROP"], ["-j", "RETURN"]])
    await _jump(program, "DOCKER-USER", bridge, _forward_chain(bridge))


async def _close_input(bridge: str, program: str) -> None:
    """The host may talk to containers (and get answers); they may not begin."""
    answers = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"]
    await _fill(program, _input_chain(bridge), [answers, ["-j", "DROP"]])
    await _jump(program, "INPUT", bridge, _input_chain(bridge))


async def _fill(program: str, chain: str, rules: list[list[str]]) -> None:
    """Make ``chain`` hold exactly these rules. One that is right already is not touched: no moment without it."""
    try:
        present = await _run(program, "-S", chain)
    except FirewallUnavailable:
        await _run(program, "-N", chain)
        present = ""
    if present.count(f"-A {chain}") == len(rules) and all([await _holds(program, chain, rule) for rule in rules]):
        return
    await _run(program, "-F", chain)
    for rule in rules:
        await _run(program, "-A", chain, *rule)


async def _jump(program: str, parent: str, bridge: str, chain: str) -> None:
    """From ``parent`` to ``chain`` for traffic of the bridge, before any rule that might let it through."""
    rule = ["-i", bridge, "-j", chain]
    if not await _holds(program, parent, rule):
        await _run(program, "-I", parent, "1", *rule)


async def _holds(program: str, chain: str, rule: list[str]) -> bool:
    try:
        await _run(program, "-C", chain, *rule)
    except FirewallUnavailable:
        return False
    return True


async def _run(program: str, *arguments: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            program, "-w", "5", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise FirewallUnavailable(f"{program} cannot be run ({error.strerror})") from error
    try:
        out, err = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise FirewallUnavailable(f"{program} did not answer in {_TIMEOUT_S} s") from error
    if process.returncode != 0:
        raise FirewallUnavailable(f"{program} says: {err.decode(errors='replace').strip().splitlines()[:1]}")
    return out.decode()


def _bridge_traffic_is_filtered() -> bool:
    try:
        return _BRIDGE_NF.read_text().strip() == "1"
    except OSError:
        return False


def _input_chain(bridge: str) -> str:
    return f"{bridge.upper()}-IN"


def _forward_chain(bridge: str) -> str:
    return f"{bridge.upper()}-FWD"
