//! The hash slots of Redis Cluster: each key is in one, and each slot has one master.

/// The number of slots.
pub(in crate::store) const SLOTS: u16 = 16_384;

/// The slot of a key: a checksum of the part in its first braces, or of the whole key if they hold nothing.
pub(in crate::store) fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes()) % SLOTS
}

/// The number of partitions with which each of these masters has a share, if the slots are spread evenly: neighbours among
/// partitions lie together, so some masters get fewer than others.
#[cfg(feature = "program")]
pub fn partitions_for(masters: usize) -> u16 {
    let enough = if masters <= 4 { 16 } else { (masters * 8).next_power_of_two().clamp(64, 1024) };
    u16::try_from(enough).unwrap_or(u16::MAX)
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

    #[test]
    fn each_master_has_a_share_of_the_advised_number_of_partitions_if_the_slots_are_spread_evenly() {
        for masters in 1..=64_usize {
            let mut shares = vec![0; masters];
            for partition in 0..partitions_for(masters) {
                let slot = usize::from(slot_of(&format!("lynkhook:{{{partition}}}:queue")));
                shares[slot * masters / usize::from(SLOTS)] += 1;
            }
            assert!(!shares.contains(&0), "{masters} masters: {shares:?}");
        }
        assert_eq!([3, 4, 5, 8].map(partitions_for), [16, 16, 64, 64]);
    }
}
