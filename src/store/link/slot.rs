//! The hash slots of Redis Cluster: each key is in one, and each slot has one master.

/// The number of slots.
pub(in crate::store) const SLOTS: u16 = 16_384;

/// The slot of a key: a checksum of the part in its first braces, or of the whole key if they hold nothing.
pub(in crate::store) fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes()) % SLOTS
}

/// CRC-16/XMODEM, as the specification of Redis Cluster demands it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8)
            .fold(crc ^ (u16::from(*byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_that_redis_names() {
        // `CLUSTER KEYSLOT` of Redis 7.0 answered these. The first is the check value of the specification.
        for (key, slot) in [
            ("123456789", 12_739),
            ("lynkhook:{0}:queue", 13_907),
            ("lynkhook:{13}:webhooks:acme", 12_436),
            ("lynkhook:meta", 10_776),
            ("{}tag", 10_776),
            ("{a}{b}", 15_495),
            ("a{", 14_311),
            ("", 0),
        ] {
            assert_eq!(slot_of(key), slot, "{key}");
        }
    }
}
