"""The rules as values; that they close what they say is tested with real containers in ``runtimes/test_docker.py``."""

from ipaddress import IPv4Address, IPv4Network

import pytest
import traitlets
from bai_agent.app import AgentApp
from bai_agent.firewall import PRIVATE_NETWORKS, Policy, chains, cluster_bridges, resolvers_in


def _through(policy: Policy, *resolvers: str) -> list[str]:
    needed, _ = chains("bai-1", policy, map(IPv4Address, resolvers))
    (chain,) = [one for one in needed if one.name == "BAI-1-FWD"]
    return [" ".join(rule) for rule in chain.rules]


def test_exceptions_come_before_what_they_are_exceptions_of():
    rules = _through(Policy(allowed=(IPv4Network("10.1.2.3/32"),)), "10.0.0.53")
    assert rules[1:4] == [
        "-d 10.0.0.53/32 -p udp -m udp --dport 53 -j RETURN",
        "-d 10.0.0.53/32 -p tcp -m tcp --dport 53 -j RETURN",
        "-d 10.1.2.3/32 -j RETURN",
    ]
    assert [rule.split()[1] for rule in rules[4:-1]] == list(PRIVATE_NETWORKS)
    assert all("REJECT" in rule for rule in rules[4:-1])


def test_a_cluster_is_open_to_itself_and_told_from_the_network_of_all_by_its_name():
    first = _through(Policy())[0]
    assert first == "-i bai-1c+ -o bai-1c+ -j RETURN"
    names = list(cluster_bridges("bai-0123abcd"))
    assert all(name.startswith("bai-0123abcdc") and len(name) == 15 for name in names)
    assert len(set(names)) == len(names) == 256


def test_a_name_server_outside_the_blocked_networks_needs_no_rule():
    assert not any("--dport" in rule for rule in _through(Policy(), "9.9.9.9"))


def test_resolvers_are_those_outside_this_host():
    texts = (
        "# none\nnameserver 10.0.0.53\nnameserver 127.0.0.53\nnameserver fd00::53\noptions x",
        "nameserver 10.0.0.53",
    )
    assert resolvers_in(*texts) == [IPv4Address("10.0.0.53")]


def test_networks_of_the_options_are_checked_and_default_to_the_private_ones():
    assert AgentApp().blocked_networks == list(PRIVATE_NETWORKS)
    assert AgentApp(blocked_networks=[]).blocked_networks == []
    for wrong in (["10.0.0.1/8"], ["fd00::/8"], ["office"]):
        with pytest.raises(traitlets.TraitError, match=r"Give IPv4 networks such as"):
            AgentApp(allowed_networks=wrong)
