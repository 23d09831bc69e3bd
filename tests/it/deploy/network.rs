//! The `NetworkPolicy` lets pods reach exactly the addresses that Lynkhook itself takes for public.

use std::net::IpAddr;

use ipnet::IpNet;
use lynkhook::domain::address::{SPECIAL_BLOCKS, judge};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::files::{documents, manifest, manifests, text, with_examples};

/// A network that is allowed, and the networks inside it that are not.
struct Allowed {
    network: IpNet,
    except: Vec<IpNet>,
}

fn network(value: &Value) -> IpNet {
    value.as_str().unwrap().parse().unwrap_or_else(|error| panic!("{value}: {error}"))
}

/// The rule for customers' endpoints: the one that names all of IPv4.
fn rule_for_endpoints() -> Value {
    let policy = manifest("NetworkPolicy", "lynkhook");
    let rules = policy["spec"]["egress"].as_array().unwrap().clone();
    let is_it = |rule: &Value| rule["to"][0]["ipBlock"]["cidr"] == "0.0.0.0/0";
    let mut found: Vec<Value> = rules.into_iter().filter(is_it).collect();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn allowed() -> Vec<Allowed> {
    let rule = rule_for_endpoints();
    let blocks = rule["to"].as_array().unwrap().iter().map(|peer| &peer["ipBlock"]);
    let list = |block: &Value| block["except"].as_array().unwrap().iter().map(network).collect();
    blocks.map(|block| Allowed { network: network(&block["cidr"]), except: list(block) }).collect()
}

/// Whether the policy lets a pod connect to this address, as Kubernetes defines `ipBlock`.
fn permits(allowed: &[Allowed], ip: IpAddr) -> bool {
    allowed.iter().any(|it| it.network.contains(&ip) && !it.except.iter().any(|network| network.contains(&ip)))
}

#[test]
fn the_exceptions_are_the_refused_blocks_and_no_others() {
    let allowed = allowed();
    let networks: Vec<String> = allowed.iter().map(|it| it.network.to_string()).collect();
    assert_eq!(networks, ["0.0.0.0/0", "2000::/3"]);
    for Allowed { network, mut except } in allowed {
        let mut refused: Vec<IpNet> =
            SPECIAL_BLOCKS.iter().map(|block| block.network).filter(|block| network.contains(block)).collect();
        refused.sort();
        except.sort();
        assert_eq!(except, refused, "of {network}");
    }
}

#[test]
fn the_policy_and_the_program_agree_on_both_ends_of_every_block_and_on_their_neighbours() {
    let allowed = allowed();
    let edges = SPECIAL_BLOCKS.iter().map(|block| block.network).chain(allowed.iter().map(|it| it.network));
    let (mut permitted, mut refused) = (0, 0);
    for ip in edges.flat_map(around) {
        let permits = permits(&allowed, ip);
        assert_eq!(permits, judge(ip).is_ok(), "{ip}");
        *if permits { &mut permitted } else { &mut refused } += 1;
    }
    assert!(permitted > 20 && refused > 80, "{permitted} permitted, {refused} refused");
}

/// The first and the last address of a network, and the addresses before and after them, in its own family.
fn around(network: IpNet) -> Vec<IpAddr> {
    let neighbours = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => {
            let number = u32::from(ip);
            [number.checked_sub(1), Some(number), number.checked_add(1)].map(|it| Some(IpAddr::V4(it?.into())))
        }
        IpAddr::V6(ip) => {
            let number = u128::from(ip);
            [number.checked_sub(1), Some(number), number.checked_add(1)].map(|it| Some(IpAddr::V6(it?.into())))
        }
    };
    [network.network(), network.broadcast()].into_iter().flat_map(neighbours).flatten().collect()
}

proptest! {
    #[test]
    fn the_policy_and_the_program_agree_on_any_ipv4_address(number: u32) {
        prop_assert_eq!(permits(&allowed(), IpAddr::V4(number.into())), judge(IpAddr::V4(number.into())).is_ok());
    }

    /// Half of the addresses are in the assigned part.
    #[test]
    fn the_policy_and_the_program_agree_on_any_ipv6_address(number: u128, is_assigned: bool) {
        let number = if is_assigned { (number >> 3) | (1 << 125) } else { number };
        prop_assert_eq!(permits(&allowed(), IpAddr::V6(number.into())), judge(IpAddr::V6(number.into())).is_ok());
    }
}

/// A customer's URL may name any port.
#[test]
fn endpoints_may_have_any_tcp_port() {
    assert_eq!(rule_for_endpoints()["ports"], json!([{ "protocol": "TCP", "port": 1, "endPort": 65535 }]));
}

/// The list is complete, so that what is not in it is denied.
#[test]
fn the_pods_reach_names_and_redis_and_endpoints_and_nothing_else_and_are_reached_for_the_api_and_for_metrics() {
    let policy = manifest("NetworkPolicy", "lynkhook");
    let spec = &policy["spec"];
    assert_eq!(spec["podSelector"], json!({ "matchLabels": { "app.kubernetes.io/name": "lynkhook" } }));
    assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(spec["ingress"], Value::Null);
    let any_namespace = json!({});
    let dns =
        json!({ "namespaceSelector": any_namespace, "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } } });
    let redis = json!({ "podSelector": { "matchLabels": { "app.kubernetes.io/name": "redis" } } });
    let expected = json!([
        { "to": [dns], "ports": [{ "protocol": "UDP", "port": 53 }, { "protocol": "TCP", "port": 53 }] },
        { "to": [redis], "ports": [{ "protocol": "TCP", "port": 6379 }] },
        rule_for_endpoints(),
    ]);
    assert_eq!(spec["egress"], expected);

    let server = manifest("NetworkPolicy", "lynkhook-server");
    assert_eq!(server["spec"]["policyTypes"], json!(["Ingress"]));
    assert_eq!(server["spec"]["ingress"], json!([{ "ports": [{ "protocol": "TCP", "port": 8080 }] }]));

    let metrics = manifest("NetworkPolicy", "lynkhook-metrics");
    let prometheus = json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "monitoring" } } });
    let ports = json!([{ "protocol": "TCP", "port": 8081 }, { "protocol": "TCP", "port": 8082 }]);
    assert_eq!(metrics["spec"]["ingress"], json!([{ "from": [prometheus], "ports": ports }]));
    assert_eq!(
        (&metrics["spec"]["podSelector"], &metrics["spec"]["policyTypes"]),
        (&spec["podSelector"], &json!(["Ingress"]))
    );
    let all = manifests().into_iter().filter(|it| it["kind"] == "NetworkPolicy").count();
    assert_eq!(all, 3, "each policy is looked at here");
}

#[test]
fn the_examples_for_a_cache_of_names_and_another_redis_are_peers_of_their_rules() {
    let policy = documents(&with_examples(&text("kubernetes/networkpolicy.yaml"))).remove(0);
    let peer = |rule: usize| &policy["spec"]["egress"][rule]["to"][1];
    assert_eq!(peer(0), &json!({ "ipBlock": { "cidr": "169.254.20.10/32" } }));
    assert_eq!(peer(1), &json!({ "ipBlock": { "cidr": "10.0.0.5/32" } }));
}
