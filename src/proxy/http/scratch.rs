//! What connections read into. One buffer for all of a thread's, since what they keep they copy: a
//! quiet connection needs none.

use std::cell::Cell;

/// What is read at a time, in bytes.
pub const SIZE: usize = 64 * 1024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends [`SIZE`] bytes, in which anything may stand.
pub fn lend<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = BUFFER.take();
    buffer.resize(SIZE, 0);
    let result = f(&mut buffer);
    BUFFER.set(buffer);
    result
}
