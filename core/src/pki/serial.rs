//! Serial numbers of certificates (RFC 5280, section 4.1.2.2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// Text that is no serial number in the form in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a serial number in lower-case hexadecimal, two digits to an octet, of at most 20 octets")]
pub struct SerialNumberError;

impl FromStr for SerialNumber {
    type Err = SerialNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let octets: Option<Vec<u8>> = (0..text.len())
            .step_by(2)
            .map(|place| text.get(place..place + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()))
            .collect();
        let serial = octets.filter(|octets| octets.len() <= 20).map(|octets| Self::from_be_bytes(&octets));
        serial.filter(|serial| !serial.0.is_empty() && serial.to_string() == text).ok_or(SerialNumberError)
    }
}

impl Serialize for SerialNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SerialNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
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
    fn what_is_written_is_read_back_and_nothing_else() {
        let serial = SerialNumber::from_be_bytes(&[0x0a, 0x80, 1]);
        assert_eq!(serial.to_string().parse(), Ok(serial));
        for text in ["", "a8001", "0A8001", "000a8001", "0x0a", "+a", "ää", &"11".repeat(21)] {
            assert_eq!(text.parse::<SerialNumber>(), Err(SerialNumberError), "{text}");
        }
    }

    #[test]
    fn leading_zeros_do_not_make_another_number() {
        assert_eq!(SerialNumber::from_be_bytes(&[0, 0x80, 1]), SerialNumber::from_be_bytes(&[0x80, 1]));
        assert_eq!(SerialNumber::from_be_bytes(&[0, 0x80, 1]).as_be_bytes(), [0x80, 1]);
    }
}
