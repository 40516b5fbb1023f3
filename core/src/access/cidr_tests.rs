//! Which addresses the blocks of a range let through.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn range(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn shown(cidr: &str, cluster: &[&str], cluster_addresses: bool) -> Vec<String> {
    let cluster = cluster.iter().map(|text| range(text)).collect();
    let blocks = blocks(range(cidr), &cluster, cluster_addresses);
    let shown = blocks.iter().map(|block| {
        let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
        format!("{} - [{}]", block.cidr, except.join(", "))
    });
    shown.collect()
}

#[test]
fn the_cluster_s_own_addresses_are_left_out() {
    let cluster = ["10.244.0.0/16", "10.96.0.0/16", "192.0.2.1/32", "fd00::/8"];
    assert_eq!(shown("10.0.0.0/8", &cluster, false), ["10.0.0.0/8 - [10.96.0.0/16, 10.244.0.0/16]"]);
    assert_eq!(shown("203.0.113.0/24", &cluster, false), ["203.0.113.0/24 - []"]);
    assert_eq!(
        shown("0.0.0.0/0", &cluster, false),
        ["0.0.0.0/0 - [10.96.0.0/16, 10.244.0.0/16, 192.0.2.1/32]", "::/0 - [fd00::/8]"]
    );
    assert_eq!(shown("::/0", &cluster, false), shown("0.0.0.0/0", &cluster, false));
}

#[test]
fn nothing_is_left_of_a_range_within_the_cluster() {
    assert_eq!(shown("10.244.7.0/24", &["10.244.0.0/16"], false), Vec::<String>::new());
    assert_eq!(shown("10.244.0.0/16", &["10.244.0.0/16"], false), Vec::<String>::new());
    let halves = ["10.244.0.0/17", "10.244.128.0/17"];
    assert_eq!(shown("10.244.0.0/16", &halves, false), Vec::<String>::new(), "two halves make a whole");
}

#[test]
fn with_consent_they_stay_in() {
    assert_eq!(shown("10.0.0.0/8", &["10.244.0.0/16"], true), ["10.0.0.0/8 - []"]);
    assert_eq!(shown("10.244.7.0/24", &["10.244.0.0/16"], true), ["10.244.7.0/24 - []"]);
}

/// Few enough addresses that random ranges meet: 10.0.0.0/26, fd00::/122 and everything.
fn ranges() -> impl Strategy<Value = IpNet> {
    (any::<bool>(), 0u8..=6, 0u8..64).prop_map(|(v6, length, low)| {
        let text = if v6 { format!("fd00::{low:x}/{}", 122 + length) } else { format!("10.0.0.{low}/{}", 26 + length) };
        range(&text).trunc()
    })
}

proptest! {
    #[test]
    fn an_address_passes_iff_it_is_in_the_range_and_not_the_cluster_s(
        cidr in prop_oneof![9 => ranges(), 1 => Just(range("0.0.0.0/0")), 1 => Just(range("::/0"))],
        cluster in prop::collection::btree_set(ranges(), 0..5),
        cluster_addresses: bool,
    ) {
        let blocks = blocks(cidr, &cluster, cluster_addresses);
        let addresses = (0u8..64).flat_map(|low| [format!("10.0.0.{low}"), format!("fd00::{low:x}")]);
        for address in addresses.chain(["203.0.113.1".to_owned(), "2001:db8::1".to_owned()]) {
            let address: IpAddr = address.parse().unwrap();
            let passes = blocks.iter().any(|block| {
                block.cidr.contains(&address) && !block.except.iter().any(|except| except.contains(&address))
            });
            let declared = cidr.prefix_len() == 0 || cidr.contains(&address);
            let own = cluster.iter().any(|range| range.contains(&address));
            prop_assert_eq!(passes, declared && (cluster_addresses || !own), "{}", address);
        }
    }

    #[test]
    fn kubernetes_takes_every_block(cidr in ranges(), cluster in prop::collection::btree_set(ranges(), 0..5)) {
        for block in blocks(cidr, &cluster, false) {
            prop_assert_eq!(block.cidr.trunc(), block.cidr);
            for except in block.except {
                prop_assert!(block.cidr.contains(&except) && except.prefix_len() > block.cidr.prefix_len());
                prop_assert_eq!(except.trunc(), except);
            }
        }
    }
}
