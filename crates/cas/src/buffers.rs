//! Memory for blocks, used again: to get a quarter of a megabyte from the system, zeroed, costs as much as to fill it.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::large::BLOCK;

/// Most buffers that wait to be used again: 4 MiB.
const KEPT: usize = 16;

/// Buffers of the size of a block that nobody uses at the moment.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    /// A buffer of some length, with whatever it held last.
    pub(crate) fn take(self: &Arc<Self>, length: usize) -> Buffer {
        let mut bytes = self.free.lock().pop().unwrap_or_default();
        if bytes.len() < length {
            bytes.resize(length.max(BLOCK), 0);
        }
        Buffer { bytes, length, home: Arc::downgrade(self) }
    }
}

/// A buffer in use; returns to where it came from.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    home: Weak<Buffers>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let mut free = home.free.lock();
        if free.len() < KEPT {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}
