//! A pickle read as data: its objects, without running anything that it asks for.
//!
//! Objects lie in one list and refer to each other by their position, so that a shared one is there once, however often
//! it is used. Nothing here recurses, and nothing is longer than the bytes that it came from.

use std::collections::BTreeMap;

/// The most objects of a pickle. A model of a hundred thousand tensors has about two million.
const MOST_OBJECTS: usize = 4_000_000;

/// A pickle that ends before its end.
pub(crate) const CUT_SHORT: &str = "the pickle is cut short";

/// A pickle that a few bytes blow up.
pub(crate) const UNFOLDS: &str = "the pickle would unfold to far more than it holds; it is refused";

/// The position of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(u32);

impl Id {
    /// Where it stands among all objects.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Object {
    /// Module and name of a class or function.
    Class(String),
    Number(i64),
    Text(String),
    Tuple(Vec<Id>),
    /// A list or a set.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// What a function returns, which is not called.
    Call {
        callable: Id,
        args: Id,
    },
    /// An object with its state.
    Built {
        object: Id,
        state: Id,
    },
    /// An object that is stored beside the pickle, under this key.
    Stored(Id),
    False,
    /// Nothing, the truth, a fraction, bytes.
    Other,
}

/// All objects of a pickle.
#[derive(Debug)]
pub(crate) struct Pickle {
    objects: Vec<Object>,
    root: Id,
}

impl Pickle {
    /// The objects of the pickle that `bytes` begin with; leaves what follows it.
    pub(crate) fn read(bytes: &mut &[u8]) -> Result<Self, String> {
        let mut machine = Machine { rest: bytes, ..Machine::default() };
        machine.run()?;
        let root = machine.pop()?;
        *bytes = machine.rest;
        Ok(Self { objects: machine.objects, root })
    }

    /// The object that the pickle describes.
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    pub(crate) fn get(&self, id: Id) -> &Object {
        &self.objects[id.index()]
    }

    /// Every object.
    pub(crate) fn objects(&self) -> &[Object] {
        &self.objects
    }
}

/// Builds objects as a pickle says.
#[derive(Default)]
struct Machine<'b> {
    rest: &'b [u8],
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
    /// Entries that were copied, which a few bytes may ask for again and again.
    copied: usize,
}

impl Machine<'_> {
    /// Works up to the end of the pickle.
    fn run(&mut self) -> Result<(), String> {
        loop {
            let [operation] = self.take()?;
            match operation {
                b'.' => return Ok(()),
                b'(' if self.marks.len() < MOST_OBJECTS => self.marks.push(self.stack.len()),
                // The protocol and the length of a frame say nothing that is needed.
                0x80 => self.take::<1>().map(drop)?,
                0x95 => self.take::<8>().map(drop)?,
                b'N' | 0x88 => self.make(Object::Other)?,
                0x89 => self.make(Object::False)?,
                b'G' => self.take::<8>().map(drop).and_then(|()| self.make(Object::Other))?,
                b')' => self.make(Object::Tuple(vec![]))?,
                b']' | 0x8f => self.make(Object::List(vec![]))?,
                b'}' => self.make(Object::Dict(vec![]))?,
                b'K' => self.take().and_then(|[byte]| self.make(Object::Number(i64::from(byte))))?,
                b'M' => self.take().and_then(|two| self.make(number(u16::from_le_bytes(two))))?,
                b'J' => self.take().and_then(|four| self.make(number(i32::from_le_bytes(four))))?,
                0x8a => self.long()?,
                b'U' | 0x8c | b'X' | b'T' | 0x8d => self.text(operation)?,
                b'C' | b'B' | 0x8e => {
                    self.run_of(operation).map(drop).and_then(|()| self.make(Object::Other))?;
                }
                b'c' => self.global()?,
                0x93 => self.stacked_global()?,
                b'q' | b'r' | 0x94 => self.remember(operation)?,
                b'h' | b'j' => self.recall(operation)?,
                b't' => self.marked().and_then(|items| self.make(Object::Tuple(items)))?,
                b'l' | 0x91 => self.marked().and_then(|items| self.make(Object::List(items)))?,
                b'd' => self
                    .marked()
                    .and_then(|items| pairs(&items))
                    .and_then(|pairs| self.make(Object::Dict(pairs)))?,
                0x85..=0x87 => {
                    let items = self.last(usize::from(operation - 0x84))?;
                    self.make(Object::Tuple(items))?;
                }
                b'Q' => self.pop().and_then(|key| self.make(Object::Stored(key)))?,
                b'R' | 0x81 => self.call()?,
                b'b' => self.build()?,
                b'a' => self.last(1).and_then(|items| self.add(items))?,
                b'e' | 0x90 => self.marked().and_then(|items| self.add(items))?,
                b's' => self.last(2).and_then(|items| self.set(&items))?,
                b'u' => self.marked().and_then(|items| self.set(&items))?,
                other => {
                    return Err(format!(
                        "the pickle uses operation {other:#04x}, which `torch.save` does not; load the file and save it \
                         again"
                    ));
                }
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The bytes of a text or of bytes, after their length.
    fn run_of(&mut self, operation: u8) -> Result<&[u8], String> {
        let length = match operation {
            b'U' | 0x8c | b'C' => u64::from(self.take::<1>()?[0]),
            b'X' | b'T' | b'B' => u64::from(u32::from_le_bytes(self.take()?)),
            _ => u64::from_le_bytes(self.take()?),
        };
        let length = usize::try_from(length).map_err(|_| CUT_SHORT)?;
        let (run, rest) = self.rest.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(run)
    }

    /// Puts a new object on the stack.
    fn make(&mut self, object: Object) -> Result<(), String> {
        if self.objects.len() == MOST_OBJECTS {
            return Err(format!("the pickle holds more than {MOST_OBJECTS} objects; it is refused"));
        }
        self.stack.push(Id(self.objects.len() as u32));
        self.objects.push(object);
        Ok(())
    }

    /// Takes the top of the stack, not from below a mark.
    fn pop(&mut self) -> Result<Id, String> {
        let above = self.stack.len() > self.marks.last().copied().unwrap_or(0);
        let top = if above { self.stack.pop() } else { None };
        top.ok_or_else(|| "the pickle is malformed: an object is missing".to_owned())
    }

    /// Takes the top `count` objects.
    fn last(&mut self, count: usize) -> Result<Vec<Id>, String> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        Ok(items)
    }

    /// Takes the objects above the last mark, and the mark.
    fn marked(&mut self) -> Result<Vec<Id>, String> {
        let height = self.marks.pop().ok_or("the pickle is malformed: a mark is missing")?;
        Ok(self.stack.split_off(height.min(self.stack.len())))
    }

    fn long(&mut self) -> Result<(), String> {
        let [length] = self.take()?;
        let (bytes, rest) = self.rest.split_at_checked(usize::from(length)).ok_or(CUT_SHORT)?;
        self.rest = rest;
        // States of random generators; no shape or position is as large.
        if length > 8 {
            return self.make(Object::Other);
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut all = if negative { [0xff; 8] } else { [0; 8] };
        all[..bytes.len()].copy_from_slice(bytes);
        self.make(Object::Number(i64::from_le_bytes(all)))
    }

    fn text(&mut self, operation: u8) -> Result<(), String> {
        let bytes = self.run_of(operation)?;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            // Python 2 wrote bytes in an encoding that it did not say.
            Err(_) if matches!(operation, b'U' | b'T') => bytes.iter().copied().map(char::from).collect(),
            Err(_) => return Err("the pickle is malformed: a text is not UTF-8".to_owned()),
        };
        self.make(Object::Text(text))
    }

    fn global(&mut self) -> Result<(), String> {
        let mut names = vec![];
        for _ in 0..2 {
            let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or(CUT_SHORT)?;
            names.push(String::from_utf8_lossy(&self.rest[..end]).into_owned());
            self.rest = &self.rest[end + 1..];
        }
        self.make(Object::Class(names.join(".")))
    }

    fn stacked_global(&mut self) -> Result<(), String> {
        let names = self.last(2)?;
        match [self.get(names[0]), self.get(names[1])] {
            [Object::Text(module), Object::Text(name)] => {
                let class = Object::Class(format!("{module}.{name}"));
                self.make(class)
            }
            _ => Err("the pickle is malformed: a class has no name".to_owned()),
        }
    }

    fn key(&mut self, operation: u8) -> Result<u32, String> {
        Ok(match operation {
            b'q' | b'h' => u32::from(self.take::<1>()?[0]),
            0x94 => self.memo.len() as u32,
            _ => u32::from_le_bytes(self.take()?),
        })
    }

    fn remember(&mut self, operation: u8) -> Result<(), String> {
        let (key, top) = (self.key(operation)?, self.top()?);
        if self.memo.len() == MOST_OBJECTS {
            return Err(format!("the pickle remembers more than {MOST_OBJECTS} objects; it is refused"));
        }
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, operation: u8) -> Result<(), String> {
        let key = self.key(operation)?;
        let known = self.memo.get(&key).ok_or("the pickle is malformed: it recalls what it never stored")?;
        self.stack.push(*known);
        Ok(())
    }

    /// Dictionaries are made; other calls are kept.
    fn call(&mut self) -> Result<(), String> {
        let both = self.last(2)?;
        let (callable, args) = (both[0], both[1]);
        let is_dictionary = matches!(
            self.get(callable),
            Object::Class(name) if matches!(name.as_str(), "collections.OrderedDict" | "collections.defaultdict")
        );
        if !is_dictionary {
            return self.make(Object::Call { callable, args });
        }
        // Of nothing, or of pairs, as Python 2 wrote them.
        let items = |id: Id| match self.get(id) {
            Object::List(items) | Object::Tuple(items) => &items[..],
            _ => &[],
        };
        let pair = |id: &Id| match items(*id) {
            [key, value] => Some((*key, *value)),
            _ => None,
        };
        let lists = || items(args).iter().map(|list| items(*list));
        let copied = items(args).len() + lists().map(<[Id]>::len).sum::<usize>();
        if self.copied + copied <= MOST_OBJECTS {
            let pairs = lists().flatten().filter_map(pair).collect();
            self.copied += copied;
            return self.make(Object::Dict(pairs));
        }
        Err(UNFOLDS.to_owned())
    }

    /// Gives an object its state; that of a dictionary is kept among its entries.
    fn build(&mut self) -> Result<(), String> {
        let both = self.last(2)?;
        let (object, state) = (both[0], both[1]);
        self.stack.push(object);
        let added = match (self.get(object), self.get(state)) {
            (Object::Dict(_), Object::Dict(pairs)) => pairs.clone(),
            (Object::Dict(_), _) => return Ok(()),
            _ => return self.attach(object, state),
        };
        self.copied += added.len();
        if self.copied > MOST_OBJECTS {
            return Err(UNFOLDS.to_owned());
        }
        if let Object::Dict(pairs) = &mut self.objects[object.index()] {
            pairs.extend(added);
        }
        Ok(())
    }

    /// Puts `state` beside an object, for all who remember it.
    fn attach(&mut self, object: Id, state: Id) -> Result<(), String> {
        let before = std::mem::replace(&mut self.objects[object.index()], Object::Other);
        self.make(before)?;
        let inner = self.pop()?;
        self.objects[object.index()] = Object::Built { object: inner, state };
        Ok(())
    }

    /// Adds items to the list on top, or to an object that behaves like one.
    fn add(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        if let Object::List(list) = &mut self.objects[top.index()] {
            list.extend(items);
            return Ok(());
        }
        self.make(Object::List(items))?;
        let items = self.pop()?;
        self.attach(top, items)
    }

    /// Adds keys and values to the dictionary on top, or to an object that behaves like one.
    fn set(&mut self, items: &[Id]) -> Result<(), String> {
        let (new, top) = (pairs(items)?, self.top()?);
        if let Object::Dict(pairs) = &mut self.objects[top.index()] {
            pairs.extend(new);
            return Ok(());
        }
        self.make(Object::Dict(new))?;
        let items = self.pop()?;
        self.attach(top, items)
    }

    fn top(&mut self) -> Result<Id, String> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(top)
    }

    fn get(&self, id: Id) -> &Object {
        &self.objects[id.index()]
    }
}

fn number(value: impl Into<i64>) -> Object {
    Object::Number(value.into())
}

/// Keys and values that come in turns.
fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("the pickle is malformed: a key has no value".to_owned());
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}
