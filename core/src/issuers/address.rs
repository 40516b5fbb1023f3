//! Which addresses an issuer may send the operator to, beyond those that the platform team has named.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;

/// Ranges that are not for the public internet, or stand for addresses that may not be (RFC 6890 and its updates).
static SPECIAL: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let ranges = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        // Of the IPv6 addresses only 2000::/3 is given out, and some of it carries an IPv4 address.
        "::/3",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "4000::/2",
        "8000::/1",
    ];
    ranges.iter().filter_map(|range| range.parse().ok()).collect()
});

/// Whether an address is one of the public internet.
pub fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !SPECIAL.iter().any(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_out_is_public() {
        assert_eq!(SPECIAL.len(), 21, "each can be read");
        for (address, public) in [
            ("8.8.8.8", true),
            ("93.184.216.34", true),
            ("2606:4700::1111", true),
            ("::ffff:8.8.8.8", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("10.96.0.1", false),
            ("172.31.255.255", false),
            ("192.168.1.1", false),
            ("100.100.100.200", false),
            ("169.254.169.254", false),
            ("255.255.255.255", false),
            ("239.1.1.1", false),
            ("::1", false),
            ("::", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("2002:7f00:1::", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
