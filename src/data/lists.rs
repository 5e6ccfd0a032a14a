//! Columns of lists of numbers: which they are, and how many of the values of a page begin a list.

use arrow::datatypes::DataType;

/// The type of the numbers, where these are lists of numbers.
pub(crate) fn item_type(data_type: &DataType) -> Option<&DataType> {
    let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) = data_type else {
        return None;
    };
    let item = item.data_type();
    (item.is_integer() || item.is_floating()).then_some(item)
}

/// How many of `n` values begin a list, by their levels of repetition: runs and packed bits of width 1 (Parquet's
/// RLE/bit-packing hybrid), in which a value that begins a list is 0.
///
/// # Errors
/// Levels that end early.
pub(super) fn n_beginnings(mut levels: &[u8], n: u32) -> Result<u64, &'static str> {
    const SHORT: &str = "a page ends in the middle of its levels";
    let (mut left, mut beginnings) = (u64::from(n), 0);
    while left > 0 {
        let header = varint(&mut levels).ok_or(SHORT)?;
        if header & 1 == 0 {
            let (&value, rest) = levels.split_first().ok_or(SHORT)?;
            levels = rest;
            let run = (header >> 1).min(left);
            if run == 0 {
                return Err("a page has a run of no levels");
            }
            beginnings += if value & 1 == 0 { run } else { 0 };
            left -= run;
        } else {
            // Groups of eight, the last of which may be cut short.
            let bytes = usize::try_from(header >> 1).map_err(|_| SHORT)?.min(levels.len());
            let (packed, rest) = levels.split_at(bytes);
            levels = rest;
            if packed.is_empty() {
                return Err(SHORT);
            }
            for &byte in packed {
                let bits = left.min(8) as u32;
                beginnings += u64::from(bits - (u32::from(byte) & ((1 << bits) - 1)).count_ones());
                left -= u64::from(bits);
            }
        }
    }
    Ok(beginnings)
}

/// An unsigned LEB128 number.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_counted_in_runs_and_in_packed_bits() {
        // A run of 3 zeros, eight packed bits of which four are zeros, a run of 5 ones.
        let levels = [3 << 1, 0, 1 << 1 | 1, 0b0101_1100, 5 << 1, 1];
        assert_eq!(n_beginnings(&levels, 16), Ok(3 + 4));
        // Two packed bits of a group that is cut short, both zeros.
        assert_eq!(n_beginnings(&levels[..4], 5), Ok(5));
        assert_eq!(n_beginnings(&levels, 3), Ok(3));
        assert_eq!(n_beginnings(&[], 0), Ok(0));
        for broken in [&levels[..2], &levels[..3], &[0, 0], &[0xff; 6]] {
            assert!(n_beginnings(broken, 16).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn lists_of_numbers_and_of_nothing_else() {
        let list = |item: DataType| DataType::new_list(item, true);
        assert_eq!(item_type(&list(DataType::Float16)), Some(&DataType::Float16));
        assert_eq!(
            item_type(&DataType::new_fixed_size_list(DataType::UInt8, 3, true)),
            Some(&DataType::UInt8)
        );
        assert_eq!(item_type(&list(DataType::Utf8)), None);
        assert_eq!(item_type(&list(list(DataType::Float32))), None);
        assert_eq!(item_type(&DataType::Float32), None);
    }
}
