//! Thrift's compact encoding, read just far enough to judge a Parquet footer or page header before the `parquet`
//! crate sees it. Nothing is allocated by what the bytes declare, and nesting is bounded.

/// Structures nested deeper than this occur in no Parquet file.
const MAX_DEPTH: usize = 32;
/// A structure or list that ends the walk, because the bytes are not what the format allows.
pub(crate) type Walk<T> = Result<T, &'static str>;

/// The types of the compact protocol that the walk tells apart.
pub(crate) mod kind {
    pub(crate) const TRUE: u8 = 1;
    pub(crate) const FALSE: u8 = 2;
    pub(crate) const BYTE: u8 = 3;
    pub(crate) const I16: u8 = 4;
    pub(crate) const I32: u8 = 5;
    pub(crate) const I64: u8 = 6;
    pub(crate) const DOUBLE: u8 = 7;
    pub(crate) const BINARY: u8 = 8;
    pub(crate) const LIST: u8 = 9;
    pub(crate) const SET: u8 = 10;
    pub(crate) const MAP: u8 = 11;
    pub(crate) const STRUCT: u8 = 12;
    pub(crate) const UUID: u8 = 13;
}

/// One field of a structure: its number and type.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    pub(crate) id: i64,
    pub(crate) kind: u8,
}

/// A position in bytes of the compact protocol.
pub(crate) struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    structs: u64,
}

/// What is said of bytes that end too early.
pub(crate) const CUT_SHORT: &str = "ends in the middle of a value";

impl<'a> Walker<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            structs: 0,
        }
    }

    /// Bytes walked so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Structures declared by all lists walked so far: what a reader would make room for.
    pub(crate) fn structs(&self) -> u64 {
        self.structs
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn byte(&mut self) -> Walk<u8> {
        let byte = *self.bytes.get(self.at).ok_or(CUT_SHORT)?;
        self.at += 1;
        Ok(byte)
    }

    fn pass(&mut self, n: u64) -> Walk<()> {
        if n > self.remaining() as u64 {
            return Err(CUT_SHORT);
        }
        self.at += n as usize;
        Ok(())
    }

    fn varint(&mut self) -> Walk<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("holds a number of more than 64 bits")
    }

    /// A signed integer.
    pub(crate) fn int(&mut self) -> Walk<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A signed integer of 32 bits.
    pub(crate) fn int32(&mut self) -> Walk<i32> {
        i32::try_from(self.int()?).map_err(|_| "holds a number out of its range")
    }

    /// The bytes of a string.
    pub(crate) fn binary(&mut self) -> Walk<&'a [u8]> {
        let len = self.varint()?;
        let start = self.at;
        self.pass(len)?;
        Ok(&self.bytes[start..self.at])
    }

    /// The next field of a structure whose last field was `last`, or `None` at its end.
    pub(crate) fn field(&mut self, last: i64) -> Walk<Option<Field>> {
        let head = self.byte()?;
        if head & 0x0f == 0 {
            return Ok(None);
        }
        let id = match head >> 4 {
            0 => self.int()?,
            delta => last + i64::from(delta),
        };
        if !(0..=i64::from(i16::MAX)).contains(&id) {
            return Err("holds a field number out of its range");
        }
        Ok(Some(Field { id, kind: head & 0x0f }))
    }

    /// Element type and length of a list; a list longer than the bytes that are left is an error.
    pub(crate) fn list(&mut self) -> Walk<(u8, usize)> {
        let head = self.byte()?;
        let (kind, short) = (head & 0x0f, head >> 4);
        let size = if short == 15 { self.varint()? } else { u64::from(short) };
        self.checked_size(kind, size)?;
        Ok((kind, size as usize))
    }

    fn checked_size(&mut self, kind: u8, size: u64) -> Walk<()> {
        if size > self.remaining() as u64 {
            return Err("declares a list longer than itself");
        }
        // Readers disagree on how many bytes a bool in a list takes, and Parquet's footer has none.
        if size > 0 && matches!(kind, kind::TRUE | kind::FALSE) {
            return Err("holds a list of truth values");
        }
        if kind == kind::STRUCT {
            self.structs += size;
        }
        Ok(())
    }

    /// Walks over a value of a field.
    pub(crate) fn skip(&mut self, kind: u8) -> Walk<()> {
        self.skip_below(kind, 0)
    }

    fn skip_below(&mut self, kind: u8, depth: usize) -> Walk<()> {
        if depth > MAX_DEPTH {
            return Err("is nested too deeply");
        }
        match kind {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.pass(1),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.pass(8),
            kind::UUID => self.pass(16),
            kind::BINARY => self.binary().map(drop),
            kind::LIST | kind::SET => {
                let (kind, size) = self.list()?;
                (0..size).try_for_each(|_| self.skip_below(kind, depth + 1))
            }
            kind::MAP => self.skip_map(depth),
            kind::STRUCT => {
                while let Some(field) = self.field(0)? {
                    self.skip_below(field.kind, depth + 1)?;
                }
                Ok(())
            }
            _ => Err("holds a value of an unknown type"),
        }
    }

    fn skip_map(&mut self, depth: usize) -> Walk<()> {
        let size = self.varint()?;
        if size == 0 {
            return Ok(());
        }
        let kinds = self.byte()?;
        let (key, value) = (kinds >> 4, kinds & 0x0f);
        self.checked_size(key, size)?;
        self.checked_size(value, size)?;
        (0..size).try_for_each(|_| {
            self.skip_below(key, depth + 1)?;
            self.skip_below(value, depth + 1)
        })
    }

    /// Walks over a structure, calling `on` for each field; `on` says whether it has read the field's value.
    pub(crate) fn structure(&mut self, mut on: impl FnMut(&mut Self, Field) -> Walk<bool>) -> Walk<()> {
        let mut last = 0;
        while let Some(field) = self.field(last)? {
            last = field.id;
            if !on(self, field)? {
                self.skip(field.kind)?;
            }
        }
        Ok(())
    }

    /// Walks over a list of structures, calling `on` at the start of each with its index.
    pub(crate) fn structures(&mut self, mut on: impl FnMut(&mut Self, usize) -> Walk<()>) -> Walk<()> {
        let (kind, size) = self.list()?;
        if size > 0 && kind != kind::STRUCT {
            return Err("holds a list of the wrong type");
        }
        (0..size).try_for_each(|i| on(self, i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_longer_than_its_bytes_is_an_error() {
        // Field 1, a list of 2^28 structures, in eight bytes.
        let bytes = [0x19, 0xfc, 0x80, 0x80, 0x80, 0x80, 0x01, 0x00];
        assert!(Walker::new(&bytes).skip(kind::STRUCT).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let bytes = vec![0x1c; 1 << 20];
        assert_eq!(Walker::new(&bytes).skip(kind::STRUCT), Err("is nested too deeply"));
        let lists = vec![0x19; 1 << 20];
        assert_eq!(Walker::new(&lists).skip(kind::LIST), Err("is nested too deeply"));
    }

    #[test]
    fn fields_and_integers_are_read() {
        // 1: i32 = -3, 5: string "ab", 300 (long form): bool.
        let bytes = [0x15, 0x05, 0x48, 0x02, b'a', b'b', 0x01, 0xd8, 0x04, 0x00];
        let mut seen = Vec::new();
        let mut walker = Walker::new(&bytes);
        walker
            .structure(|w, field| {
                seen.push(field.id);
                if field.id == 1 {
                    assert_eq!(w.int32()?, -3);
                    return Ok(true);
                }
                Ok(false)
            })
            .unwrap();
        assert_eq!((seen, walker.position()), (vec![1, 5, 300], bytes.len()));
    }
}
