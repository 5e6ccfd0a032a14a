//! The delta encodings, read just far enough to know how many values a page makes a decoder hold: decoders make room
//! for what the first bytes of such a page declare.

/// What is said of a delta-encoded page that cannot be.
const BROKEN: &str = "a delta-encoded page is damaged";
/// More values than this in one block occur in no file.
const MAX_BLOCK: u64 = 1 << 20;

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        // The tenth byte holds the last bit of 64.
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        (byte < 2).then(|| value | u64::from(byte) << 63)
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(taken)
    }
}

/// Block size, mini-blocks in a block, values, first value.
fn head(bits: &mut Bits<'_>) -> Option<(u64, u64, u64, i64)> {
    let (block, minis) = (bits.varint()?, bits.varint()?);
    let (count, first) = (bits.varint()?, bits.zigzag()?);
    let whole = block > 0 && block <= MAX_BLOCK && minis > 0 && block % minis == 0 && (block / minis) % 32 == 0;
    whole.then_some((block, minis, count, first))
}

/// Checks that a block of delta-encoded integers declares at most `most` values.
pub(crate) fn check_count(bytes: &[u8], most: u64) -> Result<(), &'static str> {
    match head(&mut Bits { bytes, at: 0 }) {
        Some((.., count, _)) if count <= most => Ok(()),
        _ => Err(BROKEN),
    }
}

/// The lengths in a block of delta-encoded integers, at most `most`, and the bytes they take.
fn lengths(bytes: &[u8], most: u64) -> Option<(Vec<i64>, usize)> {
    let mut bits = Bits { bytes, at: 0 };
    let (block, minis, count, first) = head(&mut bits)?;
    if count > most {
        return None;
    }
    let per_mini = (block / minis) as usize;
    let mut values = Vec::new();
    values.try_reserve_exact(count as usize).ok()?;
    if count > 0 {
        values.push(first);
    }
    while (values.len() as u64) < count {
        let min_delta = bits.zigzag()?;
        let widths = bits.take(minis as usize)?;
        for &width in widths {
            let left = count as usize - values.len();
            if left == 0 {
                break;
            }
            if width > 32 {
                return None;
            }
            let packed = bits.take(per_mini * usize::from(width) / 8)?;
            unpack(packed, width, min_delta, left.min(per_mini), &mut values)?;
        }
    }
    Some((values, bits.at))
}

fn unpack(packed: &[u8], width: u8, min_delta: i64, n: usize, values: &mut Vec<i64>) -> Option<()> {
    let (mut held, mut bits, mut at) = (0u64, 0u32, 0);
    for _ in 0..n {
        while bits < u32::from(width) {
            held |= u64::from(*packed.get(at)?) << bits;
            bits += 8;
            at += 1;
        }
        let delta = held & ((1u64 << width) - 1);
        held >>= width;
        bits -= u32::from(width);
        let next = values.last()?.checked_add(min_delta)?.checked_add(delta as i64)?;
        values.push(next);
    }
    Some(())
}

/// Bytes that the values of a `DELTA_BYTE_ARRAY` page take when each is written out.
pub(crate) fn written_out(bytes: &[u8], most: u64) -> Result<u64, &'static str> {
    let (prefixes, at) = lengths(bytes, most).ok_or(BROKEN)?;
    let (suffixes, _) = lengths(&bytes[at..], most).ok_or(BROKEN)?;
    if prefixes.len() != suffixes.len() {
        return Err(BROKEN);
    }
    let (mut total, mut previous) = (0u64, 0i64);
    for (prefix, suffix) in prefixes.into_iter().zip(suffixes) {
        if !(0..=previous).contains(&prefix) || !(0..=bytes.len() as i64).contains(&suffix) {
            return Err(BROKEN);
        }
        previous = prefix + suffix;
        total = total.saturating_add(previous as u64);
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two lengths, 3 and 5: blocks of 128 in 4 mini-blocks, first value 3, one delta of 2.
    fn three_and_five() -> Vec<u8> {
        vec![0x80, 0x01, 0x04, 0x02, 0x06, 0x04, 0, 0, 0, 0]
    }

    #[test]
    fn lengths_are_read_and_bounded() {
        let bytes = three_and_five();
        assert_eq!(lengths(&bytes, 2), Some((vec![3, 5], bytes.len())));
        assert_eq!(lengths(&bytes, 1), None);
        assert_eq!(check_count(&bytes, 2), Ok(()));
        assert_eq!(check_count(&bytes, 1), Err(BROKEN));
    }

    #[test]
    fn packed_deltas_are_unpacked() {
        let mut values = vec![10];
        // Widths of 3 bits: 1, 2, 7 -> 0b111_010_001.
        unpack(&[0b1101_0001, 0b1], 3, -1, 3, &mut values).unwrap();
        assert_eq!(values, [10, 10, 11, 17]);
    }

    #[test]
    fn a_prefix_longer_than_the_value_before_is_damage() {
        let mut page = three_and_five();
        page.extend(three_and_five());
        assert_eq!(written_out(&page, 2), Err(BROKEN));
    }
}
