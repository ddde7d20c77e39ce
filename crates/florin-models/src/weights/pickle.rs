//! Python's pickle as `torch.save` writes it, read without executing anything.
//!
//! A pickle is a program that may call any function. This reader knows a fixed set of opcodes and passes every name (`os.system`)
//! and every call to a [`Meaning`], which knows a handful and refuses the rest. Values live in one table and refer to each other by
//! number, so that neither depth nor repetition costs a hostile file's reader more than its own length: nothing recurses, nothing
//! is copied.

use std::collections::BTreeMap;

/// Bytes of the longest pickle that is read: a thousand tensors take about a tenth of a megabyte.
const LONGEST: usize = 8 << 20;
/// Values of the fullest pickle that is read: a tensor takes about twenty.
const MOST: usize = 1 << 20;

/// The number of a value in the table.
pub(super) type Handle = usize;

/// A value; `T` is what calls make.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<T> {
    Nothing,
    Bool(bool),
    Whole(i64),
    Float(f64),
    Text(String),
    Sequence(Vec<Handle>),
    /// Keys and values by turns.
    Pairs(Vec<Handle>),
    /// A name that a [`Meaning`] knows.
    Known(&'static str),
    Made(T),
}

/// What a pickle's names, calls and references to storage mean.
pub(super) trait Meaning<T> {
    /// The name of something that may be used, if it may.
    fn global(&self, module: &str, name: &str) -> Option<&'static str>;

    /// The value of a call.
    fn call(&self, function: &'static str, arguments: &[Handle], values: &[Value<T>]) -> Result<Value<T>, String>;

    /// What a reference to something outside the pickle is.
    fn outside(&self, reference: Handle, values: &[Value<T>]) -> Result<Value<T>, String>;
}

/// All values of a pickle and which of them it is.
pub(super) struct Unpickled<T> {
    pub(super) values: Vec<Value<T>>,
    pub(super) result: Handle,
    /// How many bytes it took.
    pub(super) length: usize,
}

/// Reads one pickle from the beginning of some bytes.
pub(super) fn unpickle<T: Clone>(bytes: &[u8], meaning: &impl Meaning<T>) -> Result<Unpickled<T>, String> {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let mut machine = Machine {
        bytes,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
        meaning,
    };
    loop {
        let at = machine.at;
        let code = machine.take(1)?[0];
        if code == b'.' {
            let result = machine.pop()?;
            return Ok(Unpickled { values: machine.values, result, length: machine.at });
        }
        machine.step(code).map_err(|reason| format!("{reason}, at byte {at} of its pickle"))?;
        if machine.values.len() > MOST {
            return Err(format!("its pickle holds more than {MOST} values"));
        }
    }
}

struct Machine<'a, T, M> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value<T>>,
    stack: Vec<Handle>,
    marks: Vec<usize>,
    memo: BTreeMap<usize, Handle>,
    meaning: &'a M,
}

impl<T: Clone, M: Meaning<T>> Machine<'_, T, M> {
    fn step(&mut self, code: u8) -> Result<(), String> {
        match code {
            0x80 => self.protocol()?,
            b'N' => self.push(Value::Nothing),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' | b'K' | b'M' | 0x8a => self.whole(code)?,
            b'G' => {
                let value = f64::from_be_bytes(self.fixed()?);
                self.push(Value::Float(value));
            }
            b'X' | b'T' | b'U' => self.text(code)?,
            b'}' => self.push(Value::Pairs(Vec::new())),
            b']' | b')' => self.push(Value::Sequence(Vec::new())),
            b'(' => self.marks.push(self.stack.len()),
            b't' | b'l' => {
                let parts = self.since_mark()?;
                self.push(Value::Sequence(parts));
            }
            0x85..=0x87 => {
                let parts = self.last(usize::from(code - 0x84))?;
                self.push(Value::Sequence(parts));
            }
            b'a' | b's' => {
                let parts = self.last(if code == b'a' { 1 } else { 2 })?;
                self.extend(parts)?;
            }
            b'e' | b'u' => {
                let parts = self.since_mark()?;
                self.extend(parts)?;
            }
            b'q' | b'r' | b'h' | b'j' => self.remember(code)?,
            b'c' => self.global()?,
            b'Q' => {
                let reference = self.pop()?;
                let value = self.meaning.outside(reference, &self.values)?;
                self.push(value);
            }
            b'R' => self.call()?,
            // The state of an object: an ordered dictionary's attributes, which say nothing of tensors.
            b'b' => {
                self.pop()?;
            }
            other => return Err(format!("opcode {other:#04x} has no place among tensors")),
        }
        Ok(())
    }

    fn protocol(&mut self) -> Result<(), String> {
        match self.take(1)?[0] {
            2..=5 => Ok(()),
            other => Err(format!("pickle protocol {other}, expected 2")),
        }
    }

    fn whole(&mut self, code: u8) -> Result<(), String> {
        let value = match code {
            b'J' => i64::from(i32::from_le_bytes(self.fixed()?)),
            b'K' => i64::from(self.take(1)?[0]),
            b'M' => i64::from(u16::from_le_bytes(self.fixed()?)),
            _ => self.long()?,
        };
        self.push(Value::Whole(value));
        Ok(())
    }

    /// A whole number of up to eight bytes, and those of more as the largest: only the mark of an old file is longer.
    fn long(&mut self) -> Result<i64, String> {
        let length = usize::from(self.take(1)?[0]);
        let digits = self.take(length)?;
        if length > 8 {
            return Ok(i64::MAX);
        }
        let filling = if digits.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
        let mut wide = [filling; 8];
        wide[..length].copy_from_slice(digits);
        Ok(i64::from_le_bytes(wide))
    }

    fn text(&mut self, code: u8) -> Result<(), String> {
        let length =
            if code == b'U' { usize::from(self.take(1)?[0]) } else { u32::from_le_bytes(self.fixed()?) as usize };
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "a text is not UTF-8")?.to_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    /// Adds to the list or dictionary below.
    fn extend(&mut self, parts: Vec<Handle>) -> Result<(), String> {
        let target = *self.stack.last().ok_or("there is nothing to add to")?;
        match &mut self.values[target] {
            Value::Sequence(all) => all.extend(parts),
            Value::Pairs(all) if parts.len().is_multiple_of(2) => all.extend(parts),
            _ => return Err("something is added to what is neither list nor dictionary".to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, code: u8) -> Result<(), String> {
        let wide = matches!(code, b'r' | b'j');
        let place = if wide { u32::from_le_bytes(self.fixed()?) as usize } else { usize::from(self.take(1)?[0]) };
        if matches!(code, b'q' | b'r') {
            let top = *self.stack.last().ok_or("there is nothing to remember")?;
            self.memo.insert(place, top);
        } else {
            self.stack.push(*self.memo.get(&place).ok_or_else(|| format!("nothing was remembered as {place}"))?);
        }
        Ok(())
    }

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        match self.meaning.global(&module, &name) {
            Some(known) => self.push(Value::Known(known)),
            None => {
                return Err(format!("`{module}.{name}` is not needed to hold tensors; nothing of a file is executed"));
            }
        }
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let parts = self.last(2)?;
        let (Value::Known(function), Value::Sequence(arguments)) = (&self.values[parts[0]], &self.values[parts[1]])
        else {
            return Err("something is called that is no function".to_owned());
        };
        let value = self.meaning.call(function, arguments, &self.values)?;
        self.push(value);
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take(256).position(|&byte| byte == b'\n').ok_or("a name has no end")?;
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..count));
        let taken = taken.ok_or_else(|| format!("the pickle ends after {} bytes", self.bytes.len()))?;
        self.at += count;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut found = [0; N];
        found.copy_from_slice(self.take(N)?);
        Ok(found)
    }

    fn push(&mut self, value: Value<T>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Handle, String> {
        self.stack.pop().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn last(&mut self, count: usize) -> Result<Vec<Handle>, String> {
        let from = self.stack.len().checked_sub(count).ok_or("the stack is too short")?;
        Ok(self.stack.split_off(from))
    }

    fn since_mark(&mut self) -> Result<Vec<Handle>, String> {
        let mark = self.marks.pop().ok_or("there is no mark")?;
        if mark > self.stack.len() {
            return Err("the stack is shorter than its mark".to_owned());
        }
        Ok(self.stack.split_off(mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows nothing that could be called.
    struct Nothing;

    impl Meaning<()> for Nothing {
        fn global(&self, _module: &str, _name: &str) -> Option<&'static str> {
            None
        }

        fn call(
            &self,
            _function: &'static str,
            _arguments: &[Handle],
            _values: &[Value<()>],
        ) -> Result<Value<()>, String> {
            Err("nothing is called".to_owned())
        }

        fn outside(&self, _reference: Handle, _values: &[Value<()>]) -> Result<Value<()>, String> {
            Err("nothing is outside".to_owned())
        }
    }

    fn said(bytes: &[u8]) -> String {
        unpickle(bytes, &Nothing).map(|_| ()).unwrap_err()
    }

    #[test]
    fn plain_values_are_read_as_python_wrote_them() {
        // pickle.dumps({"a": (1, -2, 70000), "b": [None, True, 0.5]}, 2)
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01J\xfe\xff\xff\xffJp\x11\x01\x00\x87q\x02X\x01\x00\x00\x00bq\x03]q\x04(N\x88G?\xe0\x00\x00\x00\x00\x00\x00eu.";
        let read = unpickle(bytes, &Nothing).unwrap();
        let Value::Pairs(pairs) = &read.values[read.result] else { panic!("a dictionary") };
        let inside = |place: usize| match &read.values[pairs[place]] {
            Value::Sequence(parts) => parts.iter().map(|&part| read.values[part].clone()).collect::<Vec<_>>(),
            other => panic!("a sequence, not {other:?}"),
        };
        assert_eq!(read.values[pairs[0]], Value::Text("a".to_owned()));
        assert_eq!(inside(1), [Value::Whole(1), Value::Whole(-2), Value::Whole(70000)]);
        assert_eq!(inside(3), [Value::Nothing, Value::Bool(true), Value::Float(0.5)]);
        assert_eq!(read.length, bytes.len());
    }

    #[test]
    fn what_is_not_needed_is_refused_by_name_and_place() {
        assert!(said(b"\x80\x02cos\nsystem\n.").contains("`os.system` is not needed to hold tensors"));
        assert!(said(b"\x80\x02i.").contains("opcode 0x69 has no place among tensors, at byte 2 of its pickle"));
        for broken in [
            &b""[..],
            b"\x80",
            b".",
            b"R.",
            b"t.",
            b"q\x00.",
            b"h\x05.",
            b"X\xff\xff\xff\xffa.",
            b"Na.",
            b"(((",
            b"N(0t.",
        ] {
            assert!(unpickle(broken, &Nothing).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn depth_and_repetition_cost_no_more_than_the_file() {
        let deep = [&[b')'][..], &vec![0x85; 500_000], b"."].concat();
        assert!(unpickle(&deep, &Nothing).is_ok(), "half a million tuples within each other neither recurse nor hang");
        // Every tuple holds the one before twice: copied, it would be 2^200 values.
        let laughs = [&b")q\x00"[..], &b"h\x00h\x00\x86q\x00".repeat(200), b"."].concat();
        assert!(unpickle(&laughs, &Nothing).is_ok());
        let full = [&vec![b'N'; MOST + 1][..], b"."].concat();
        assert!(said(&full).contains("holds more than 1048576 values"));
    }
}
