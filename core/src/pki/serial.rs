//! Serial numbers of certificates (RFC 5280, section 4.1.2.2).

use std::fmt;

/// The serial number of a certificate: a positive integer of at most 20 octets, big-endian, without leading zeros.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialNumber(Vec<u8>);

impl SerialNumber {
    /// Makes a serial number of 128 random bits. The highest one is cleared, so that DER needs no more than 16
    /// octets; nought becomes one, for zero is not a serial number.
    #[must_use]
    pub fn from_random(mut bits: [u8; 16]) -> Self {
        bits[0] &= 0x7f;
        if bits == [0; 16] {
            bits[15] = 1;
        }
        Self::from_be_bytes(&bits)
    }

    /// Takes the content octets of the INTEGER, as they stand in a certificate.
    #[must_use]
    pub fn from_be_bytes(octets: &[u8]) -> Self {
        let zeros = octets.iter().take_while(|&&octet| octet == 0).count();
        Self(octets[zeros..].to_vec())
    }

    /// The magnitude, big-endian, without leading zeros.
    #[must_use]
    pub fn as_be_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&SerialNumber> for rcgen::SerialNumber {
    fn from(serial: &SerialNumber) -> Self {
        Self::from_slice(&serial.0)
    }
}

/// Lower-case hexadecimal, two digits to an octet.
impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialNumber({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bits_make_a_positive_number_of_at_most_16_octets() {
        assert_eq!(SerialNumber::from_random([0xff; 16]).to_string(), format!("7f{}", "ff".repeat(15)));
        assert_eq!(SerialNumber::from_random([0; 16]).to_string(), "01");
        let mut only_the_highest_bit = [0; 16];
        only_the_highest_bit[0] = 0x80;
        assert_eq!(SerialNumber::from_random(only_the_highest_bit).to_string(), "01");
    }

    #[test]
    fn leading_zeros_do_not_make_another_number() {
        assert_eq!(SerialNumber::from_be_bytes(&[0, 0x80, 1]), SerialNumber::from_be_bytes(&[0x80, 1]));
        assert_eq!(SerialNumber::from_be_bytes(&[0, 0x80, 1]).as_be_bytes(), [0x80, 1]);
    }
}
