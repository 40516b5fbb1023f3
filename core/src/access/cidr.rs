//! Address ranges as they are declared, and as the blocks of a NetworkPolicy, without the cluster's own addresses.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{IpBlock, Objection};
use crate::api::Reason;

/// The blocks for a declared range. What lies in the cluster's own ranges is left out unless `cluster_addresses`; nothing
/// is left of a range that lies in them altogether. A range of length 0 means every address of both families.
pub fn blocks(cidr: IpNet, cluster_ranges: &BTreeSet<IpNet>, cluster_addresses: bool) -> Vec<IpBlock> {
    let ranges =
        if cluster_addresses { Vec::new() } else { IpNet::aggregate(&cluster_ranges.iter().copied().collect()) };
    let cidrs = if is_anywhere(cidr) { everything().to_vec() } else { vec![cidr] };
    let block = |cidr: IpNet| {
        let within = ranges.iter().any(|range| range.contains(&cidr));
        let except = ranges.iter().filter(|range| cidr.contains(*range)).copied().collect();
        (!within).then_some(IpBlock { cidr, except })
    };
    cidrs.into_iter().filter_map(block).collect()
}

/// Reads a declared range.
pub(super) fn parse_cidr(text: &str) -> Result<IpNet, Objection> {
    let invalid = |why: String| Objection::refused(Reason::InvalidCidr, format!("{text} {why}"));
    let cidr: IpNet = text.parse().map_err(|_| {
        invalid("is no address range: write an address and a prefix length, such as 203.0.113.0/24".to_owned())
    })?;
    if cidr.trunc() != cidr {
        let address = IpNet::from(cidr.addr());
        return Err(invalid(format!(
            "has bits set behind its prefix: write {} for the whole range, or {address} for the one address",
            cidr.trunc()
        )));
    }
    if let IpNet::V6(v6) = cidr
        && v6.addr().to_ipv4_mapped().is_some()
    {
        return Err(invalid(
            "holds IPv4 addresses written as IPv6, which no packet carries: write them as IPv4".to_owned(),
        ));
    }
    Ok(cidr)
}

/// Whether a range means every address.
pub(super) fn is_anywhere(cidr: IpNet) -> bool {
    cidr.prefix_len() == 0
}

fn everything() -> [IpNet; 2] {
    [IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)), IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0))]
}

#[cfg(test)]
#[path = "cidr_tests.rs"]
mod tests;
