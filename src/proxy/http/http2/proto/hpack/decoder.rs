//! From a block to fields.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{
    OVERHEAD, TABLE_SIZE, Undecodable,
    field::{Field, Name},
    huffman, integer, static_table,
};

struct Entry {
    field: Field,
    /// What it counts, in bytes.
    size: usize,
    name_len: usize,
}

/// A larger buffer for a coded string is given back after its block, in bytes: one head must not cost
/// a quiet connection memory.
const KEPT: usize = 4096;

/// Reads the blocks of one connection, all of them and in order.
#[derive(Default)]
pub struct Decoder {
    /// The newest first.
    table: VecDeque<Entry>,
    size: usize,
    limit: Limit,
    /// Strings that were coded, while they are looked at.
    name: Vec<u8>,
    value: Vec<u8>,
    /// Where blocks are copied to whose strings are kept.
    shared: BytesMut,
}

/// Memory that blocks share, in bytes. What is left of one keeps it, so large ones have their own.
const SHARED: usize = 1024;

/// What the peer lets its table hold, in bytes: at most [`TABLE_SIZE`].
struct Limit(usize);

impl Default for Limit {
    fn default() -> Self {
        Self(TABLE_SIZE)
    }
}

/// A block, and how far it is read.
struct Block<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
    copy: Option<Bytes>,
}

impl Block<'_> {
    /// A string of it, to be kept beyond it: all such strings of a block are parts of one copy.
    fn keep(&mut self, text: &Text<'_>, shared: &mut BytesMut) -> Bytes {
        let whole = self.whole;
        let copy = self.copy.get_or_insert_with(|| {
            if whole.len() > SHARED / 2 {
                return Bytes::copy_from_slice(whole);
            }
            if shared.capacity() == 0 {
                shared.reserve(SHARED);
            }
            shared.extend_from_slice(whole);
            shared.split().freeze()
        });
        copy.slice(text.at..text.at + text.bytes.len())
    }
}

/// A string of a block: where in it, and whether it is coded.
struct Text<'a> {
    bytes: &'a [u8],
    at: usize,
    coded: bool,
}

impl<'a> Text<'a> {
    fn read(block: &mut Block<'a>) -> Result<Self, Undecodable> {
        let coded = block.rest.first().is_some_and(|byte| byte & 0x80 != 0);
        let length = integer::read(&mut block.rest, 7)?;
        let at = block.whole.len() - block.rest.len();
        let (bytes, rest) = block.rest.split_at_checked(length).ok_or(Undecodable)?;
        block.rest = rest;
        Ok(Self { bytes, at, coded })
    }

    fn decoded<'b>(&self, scratch: &'b mut Vec<u8>) -> Result<&'b [u8], Undecodable>
    where
        'a: 'b,
    {
        if !self.coded {
            return Ok(self.bytes);
        }
        scratch.clear();
        huffman::decode(self.bytes, scratch)?;
        Ok(scratch)
    }
}

impl Decoder {
    /// Gives each field of a block, and what it counts, to `each`, until that has enough.
    ///
    /// # Errors
    /// When the block is none. The tables of the two ends differ from then on.
    pub fn decode(
        &mut self,
        block: &[u8],
        each: impl FnMut(Field, usize) -> bool,
    ) -> Result<(), Undecodable> {
        let decoded = self.fields(block, each);
        for scratch in [&mut self.name, &mut self.value] {
            if scratch.capacity() > KEPT {
                *scratch = Vec::new();
            }
        }
        decoded
    }

    fn fields(
        &mut self,
        block: &[u8],
        mut each: impl FnMut(Field, usize) -> bool,
    ) -> Result<(), Undecodable> {
        let mut block = Block {
            whole: block,
            rest: block,
            copy: None,
        };
        let mut may_resize = true;
        while let Some(first) = block.rest.first() {
            let goes_on = match first {
                // Section 6.1.
                0x80.. => {
                    let index = integer::read(&mut block.rest, 7)?;
                    let (field, size) = self.field(index)?;
                    each(field, size)
                }
                // Section 6.3: only before the first field.
                0x20..0x40 if may_resize => {
                    let limit = integer::read(&mut block.rest, 5)?;
                    if limit > TABLE_SIZE {
                        return Err(Undecodable);
                    }
                    self.limit = Limit(limit);
                    self.evict(0);
                    continue;
                }
                0x20..0x40 => return Err(Undecodable),
                // Section 6.2.
                first => {
                    let (field, size) = self.literal(*first, &mut block)?;
                    each(field, size)
                }
            };
            if !goes_on {
                return Ok(());
            }
            may_resize = false;
        }
        Ok(())
    }

    fn field(&self, index: usize) -> Result<(Field, usize), Undecodable> {
        match index {
            0 => Err(Undecodable),
            1..=static_table::LEN => {
                let field = static_table::field(index);
                Ok((field, static_table::size(index)))
            }
            _ => {
                let entry = self.table.get(index - static_table::LEN - 1);
                let entry = entry.ok_or(Undecodable)?;
                Ok((entry.field.clone(), entry.size))
            }
        }
    }

    /// The name of an entry, and how long it is.
    fn name(&self, index: usize) -> Result<(Name, usize), Undecodable> {
        match index {
            1..=static_table::LEN => Ok((static_table::name(index), static_table::name_len(index))),
            _ => {
                let at = index.checked_sub(static_table::LEN + 1);
                let entry = at.and_then(|at| self.table.get(at)).ok_or(Undecodable)?;
                Ok((entry.field.name(), entry.name_len))
            }
        }
    }

    /// A field that is written out: enters the table, does not, or must never.
    fn literal(&mut self, first: u8, block: &mut Block<'_>) -> Result<(Field, usize), Undecodable> {
        let enters = first & 0x40 != 0;
        let never = !enters && first & 0x10 != 0;
        let index = integer::read(&mut block.rest, if enters { 6 } else { 4 })?;
        let (name, name_len) = if index == 0 {
            let text = Text::read(block)?;
            let name = text.decoded(&mut self.name)?;
            (Name::read(name), name.len())
        } else {
            self.name(index)?
        };
        let text = Text::read(block)?;
        let value = text.decoded(&mut self.value)?;
        let size = name_len + value.len() + OVERHEAD;
        // An entry would keep the whole copy for as long as it is in the table.
        let shares = !enters && !text.coded;
        let shared = &mut self.shared;
        let mut field = Field::new(name, value, || match shares {
            true => block.keep(&text, shared),
            false => Bytes::copy_from_slice(value),
        });
        if enters {
            self.enter(Entry {
                field: field.clone(),
                size,
                name_len,
            });
        } else if let (true, Field::Header(_, value)) = (never, &mut field) {
            // Whoever writes it again must not let it enter a table either (section 6.2.3).
            value.set_sensitive(true);
        }
        Ok((field, size))
    }

    fn enter(&mut self, entry: Entry) {
        self.evict(entry.size);
        // A larger one than the table empties it, and that is all (section 4.4).
        if entry.size <= self.limit.0 {
            self.size += entry.size;
            self.table.push_front(entry);
        }
    }

    /// Makes room for `size`.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.limit.0 {
            let Some(oldest) = self.table.pop_back() else {
                return;
            };
            self.size -= oldest.size;
        }
    }
}
