//! Taking as much at a time as one script may move.

use crate::store::{BATCH_MAX, BATCH_MAX_BYTES};

/// Takes the first entries of `waiting`, as many as one script may move; at least one if there is any.
pub(super) fn first<T>(waiting: &mut Vec<T>, bytes_of: impl Fn(&T) -> usize) -> Vec<T> {
    let mut bytes = 0;
    let fits = waiting.iter().take(BATCH_MAX).enumerate().take_while(|(index, entry)| {
        bytes += bytes_of(entry);
        *index == 0 || bytes <= BATCH_MAX_BYTES
    });
    let count = fits.count();
    waiting.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_bounded_by_number_and_by_bytes_and_is_never_empty() {
        let sizes = |given: &[usize]| {
            let (mut waiting, mut batches) = (given.to_vec(), Vec::new());
            while !waiting.is_empty() {
                batches.push(first(&mut waiting, |size| *size).len());
            }
            batches
        };
        assert_eq!(sizes(&[1; 120]), [50, 50, 20]);
        assert_eq!(sizes(&[1 << 20; 9]), [4, 4, 1]);
        assert_eq!(sizes(&[16 << 20, 16 << 20, 1, 1]), [1, 1, 2]);
        assert!(first(&mut Vec::new(), |size: &usize| *size).is_empty());
    }
}
