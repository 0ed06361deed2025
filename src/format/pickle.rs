//! A pickle read as data: candle's machine, and a guard that goes before it.
//!
//! The machine runs no code. Lengths are allocated as given, shared objects are copied at every use, and an object
//! nested deeply enough overflows the stack. The guard walks the same operations, tracking only sizes and depths, and
//! refuses pickles that would cost more than an honest file.

use std::collections::BTreeMap;
use std::io::Cursor;

use candle_core::pickle::{Object, Stack};

use crate::error::printable;

/// An object nested deeper is hostile: a tensor in a nested state dict needs about a dozen levels.
const DEEPEST: u32 = 100;

/// Objects that may be made, for a pickle of any length.
const MOST_OBJECTS: u64 = 16_000_000;

/// Objects that may be made a byte: an honest file needs about one.
const OBJECTS_PER_BYTE: u64 = 8;

/// The object that `bytes` describe.
pub(crate) fn parse(bytes: &[u8]) -> Result<Object, String> {
    Guard::new(bytes).check()?;
    let mut stack = Stack::empty();
    stack.read_loop(&mut Cursor::new(bytes)).and_then(|()| stack.finalize()).map_err(|e| {
        // Some messages quote whole objects.
        let message: String = e.to_string().chars().take(80).take_while(|c| *c != '\n').collect();
        format!("the pickle is malformed: {}", printable(&message))
    })
}

/// How large an object is: how many objects it is made of, and how deep they nest.
#[derive(Clone, Copy)]
struct Size {
    objects: u64,
    depth: u32,
}

const LEAF: Size = Size { objects: 1, depth: 1 };

struct Guard<'b> {
    rest: &'b [u8],
    /// Sizes of the objects on the machine's stack; `None` is a mark.
    stack: Vec<Option<Size>>,
    memo: BTreeMap<u32, Size>,
    budget: u64,
}

impl<'b> Guard<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        let budget = (bytes.len() as u64).saturating_mul(OBJECTS_PER_BYTE).min(MOST_OBJECTS);
        Self { rest: bytes, stack: vec![], memo: BTreeMap::new(), budget }
    }

    /// Walks to the end of the pickle.
    fn check(mut self) -> Result<(), String> {
        loop {
            let [operation] = self.take()?;
            match operation {
                b'.' => return Ok(()),
                b'(' => self.stack.push(None),
                0x80 => self.take::<1>().map(drop)?,
                b'N' | 0x88 | 0x89 | b')' | b']' | b'}' => self.make(LEAF)?,
                b'K' => self.number::<1>()?,
                b'M' => self.number::<2>()?,
                b'J' => self.number::<4>()?,
                b'G' => self.number::<8>()?,
                0x8a => self.long()?,
                b'X' => self.text()?,
                b'c' => self.global()?,
                b'q' | b'r' | b'h' | b'j' => self.remember(operation)?,
                b't' => self.marked().and_then(|children| self.nest(children))?,
                0x85 | b'Q' => self.children(1).and_then(|children| self.nest(children))?,
                0x86 | b'R' | b'b' | 0x81 => self.children(2).and_then(|children| self.nest(children))?,
                0x87 => self.children(3).and_then(|children| self.nest(children))?,
                b'a' => self.children(1).and_then(|children| self.add(children))?,
                b's' => self.children(2).and_then(|children| self.add(children))?,
                b'e' | b'u' => self.marked().and_then(|children| self.add(children))?,
                other => return Err(unknown(other)),
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or("the pickle is cut short")?;
        self.rest = rest;
        Ok(*head)
    }

    /// Pushes a new object, or a copy of one.
    fn make(&mut self, size: Size) -> Result<(), String> {
        let left = self.budget.checked_sub(size.objects);
        self.budget = left.ok_or("the pickle would unfold to far more than it holds; it is refused")?;
        self.stack.push(Some(size));
        Ok(())
    }

    fn pop(&mut self) -> Result<Size, String> {
        self.stack.pop().flatten().ok_or_else(|| "the pickle is malformed: an object is missing".to_owned())
    }

    fn number<const N: usize>(&mut self) -> Result<(), String> {
        self.take::<N>()?;
        self.make(LEAF)
    }

    fn long(&mut self) -> Result<(), String> {
        let [length] = self.take()?;
        if length > 8 {
            return Err(format!("the pickle holds an integer of {length} bytes; it is refused"));
        }
        self.skip(usize::from(length))?;
        self.make(LEAF)
    }

    fn text(&mut self) -> Result<(), String> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        self.skip(length)?;
        self.make(words(length))
    }

    fn global(&mut self) -> Result<(), String> {
        let mut length = 0;
        for _ in 0..2 {
            let line = self.rest.iter().position(|b| *b == b'\n').ok_or("the pickle is cut short")?;
            self.skip(line + 1)?;
            length += line;
        }
        self.make(words(length))
    }

    fn skip(&mut self, length: usize) -> Result<(), String> {
        self.rest = self.rest.get(length..).ok_or("the pickle is cut short")?;
        Ok(())
    }

    /// Puts the top object into the memo, or a copy of a remembered one onto the stack.
    fn remember(&mut self, operation: u8) -> Result<(), String> {
        let key = match operation {
            b'q' | b'h' => u32::from(self.take::<1>()?[0]),
            _ => u32::from_le_bytes(self.take()?),
        };
        let size = match operation {
            b'q' | b'r' => self.pop()?,
            _ => *self.memo.get(&key).ok_or("the pickle is malformed: it recalls what it never stored")?,
        };
        if matches!(operation, b'q' | b'r') {
            self.memo.insert(key, size);
        }
        // A copy is made either way.
        self.make(size)
    }

    /// Makes one object of others.
    fn nest(&mut self, children: Size) -> Result<(), String> {
        self.settle(Size { objects: children.objects + 1, depth: children.depth + 1 })
    }

    /// Moves objects into the one on top.
    fn add(&mut self, children: Size) -> Result<(), String> {
        let parent = self.pop()?;
        let depth = parent.depth.max(children.depth + 1);
        self.settle(Size { objects: parent.objects + children.objects, depth })
    }

    /// Pushes an object made of others, which have been paid for.
    fn settle(&mut self, size: Size) -> Result<(), String> {
        if size.depth > DEEPEST {
            return Err(format!("the pickle nests more than {DEEPEST} deep; it is refused"));
        }
        self.stack.push(Some(size));
        Ok(())
    }

    /// Takes the top `count` objects: their objects together, their greatest depth.
    fn children(&mut self, count: usize) -> Result<Size, String> {
        let mut all = Size { objects: 0, depth: 0 };
        for _ in 0..count {
            let child = self.pop()?;
            all = Size { objects: all.objects + child.objects, depth: all.depth.max(child.depth) };
        }
        Ok(all)
    }

    /// Takes the objects above the last mark, and the mark.
    fn marked(&mut self) -> Result<Size, String> {
        let above = self.stack.iter().rev().position(Option::is_none);
        let children = self.children(above.ok_or("the pickle is malformed: a mark is missing")?)?;
        self.stack.pop();
        Ok(children)
    }
}

/// The size of a text: a long one counts as several objects.
fn words(length: usize) -> Size {
    Size { objects: 1 + length as u64 / 32, depth: 1 }
}

fn unknown(operation: u8) -> String {
    format!(
        "the pickle uses operation {operation:#04x}, which `torch.save` does not by default; \
         load the file and save it again"
    )
}
