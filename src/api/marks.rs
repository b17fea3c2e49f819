//! The marks of a line that is no JSON: its `id`, so that the error finds its sender, its `cmd`, and `may_fail`.
//!
//! A [`Seeker`] looks at brackets, strings and colons alone, a byte at a time, and takes little memory, however long the line is.

use serde_json::Value;

use super::id::CommandId;
use super::name::MAX_NAME;

/// The longest name or value that is looked at, in bytes: one of the longest, each byte escaped, and its quotes.
const MAX_TOKEN: usize = 6 * MAX_NAME + 2;

/// The marks of a line.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Marks {
    /// The caller's mark.
    pub id: Option<CommandId>,
    /// The command's name.
    pub cmd: Option<String>,
    /// Whether its failure counts for `--check`.
    pub may_fail: bool,
}

/// Finds the marks of a line.
#[derive(Debug, Default)]
pub struct Seeker {
    marks: Marks,
    depth: u32,
    /// The outermost bracket is an object's.
    in_object: bool,
    place: Place,
    /// The string or the word that is being read, as far as it is looked at.
    token: Vec<u8>,
    /// The string just read, which is a name if a colon follows.
    string: Option<String>,
    /// The name whose value comes next.
    name: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Place {
    #[default]
    Between,
    Word,
    String,
    /// In a string, behind a backslash.
    Escape,
}

impl Seeker {
    /// Looks at more of the line.
    pub fn look(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.step(*b));
    }

    /// The marks that were found, the line being over.
    pub fn found(mut self) -> Marks {
        self.end_word();
        self.marks
    }

    /// The marks of a whole line. If its quotes don't come in pairs, strings can't be told from what is between them: then the
    /// one `"id":` that stands in the outermost brackets is believed.
    pub fn find(line: &[u8]) -> Marks {
        let mut seeker = Self::default();
        seeker.look(line);
        let is_torn = matches!(seeker.place, Place::String | Place::Escape);
        let mut marks = seeker.found();
        if is_torn && marks.id.is_none() {
            marks.id = only_id(line);
        }
        marks
    }

    fn step(&mut self, b: u8) {
        match (self.place, b) {
            (Place::String, b'"') => {
                self.keep(b);
                self.place = Place::Between;
                self.on_token();
            }
            (Place::String | Place::Escape, _) => {
                self.keep(b);
                self.place = if self.place == Place::String && b == b'\\' { Place::Escape } else { Place::String };
            }
            (_, b'"') => {
                self.end_word();
                self.keep(b);
                self.place = Place::String;
            }
            (_, b'{' | b'[') => {
                self.end_word();
                self.in_object = if self.depth == 0 { b == b'{' } else { self.in_object };
                self.depth = self.depth.saturating_add(1);
                self.forget();
            }
            (_, b'}' | b']') => {
                self.end_word();
                self.depth = self.depth.saturating_sub(1);
                self.forget();
            }
            (_, b',') => {
                self.end_word();
                self.forget();
            }
            (_, b':') => {
                self.end_word();
                self.name = self.string.take();
            }
            (_, b' ' | b'\t' | b'\r' | b'\n') => self.end_word(),
            _ => {
                self.place = Place::Word;
                self.keep(b);
            }
        }
    }

    fn keep(&mut self, b: u8) {
        // One byte more shows that it is too long.
        if self.token.len() <= MAX_TOKEN {
            self.token.push(b);
        }
    }

    fn forget(&mut self) {
        (self.string, self.name) = (None, None);
    }

    fn end_word(&mut self) {
        if self.place == Place::Word {
            self.place = Place::Between;
            self.on_token();
        }
    }

    /// A string or a word is whole.
    fn on_token(&mut self) {
        let value = serde_json::from_slice(&self.token).ok().filter(|_| self.depth == 1 && self.in_object);
        self.token.clear();
        match (self.name.take(), value) {
            (Some(name), Some(value)) => self.mark(&name, value),
            (None, Some(Value::String(string))) => self.string = Some(string),
            _ => self.string = None,
        }
    }

    /// A name and its value; of two the first counts.
    fn mark(&mut self, name: &str, value: Value) {
        match (name, value) {
            ("id", value) if self.marks.id.is_none() => self.marks.id = CommandId::read(value).ok(),
            ("cmd", Value::String(cmd)) if self.marks.cmd.is_none() => self.marks.cmd = Some(cmd),
            ("may_fail", Value::Bool(true)) => self.marks.may_fail = true,
            _ => {}
        }
    }
}

/// The value of the one `"id":` in a line, if it stands in the outermost brackets.
fn only_id(line: &[u8]) -> Option<CommandId> {
    const NAME: &[u8] = b"\"id\"";
    let mut places = line.windows(NAME.len()).enumerate().filter(|(at, window)| {
        let behind = line.get(at + NAME.len()..).unwrap_or_default().trim_ascii_start();
        *window == NAME && behind.first() == Some(&b':') && (*at == 0 || line.get(at - 1) != Some(&b'\\'))
    });
    let (at, _) = places.next()?;
    let (before, behind) = line.split_at_checked(at)?;
    let count = |all: &[u8]| before.iter().filter(|b| all.contains(b)).count();
    if places.next().is_some() || count(b"{[") != count(b"}]") + 1 {
        return None;
    }
    let mut seeker = Seeker { depth: 1, in_object: true, ..Seeker::default() };
    for b in behind {
        seeker.step(*b);
        if seeker.marks.id.is_some() {
            break;
        }
    }
    seeker.found().id
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(line: &str) -> Option<Value> {
        Seeker::find(line.as_bytes()).id.map(|id| json!(id))
    }

    #[test]
    fn an_id_is_found_whatever_is_wrong_elsewhere() {
        for line in [
            r#"{"cmd":"send","id":7"#,
            r#"{"id":7,"cmd":"send","text":"hi"#,
            r#"{"cmd":"send" "id":7}"#,
            r#"{"cmd":"send","text":'hi',"id":7}"#,
            r#"{"cmd":"send","text":"say "hi"","id":7}"#,
            r#"{"cmd":"send","text":"5" wide","id": 7 }"#,
            r#"{"cmd":"send","meta":{"id":8},"x":[{"id":9}],"id":7,}"#,
            r#"{"cmd":"send","text":"\"id\":8 {","id":7} x"#,
            r#"{cmd:"send","id"  :  7 }"#,
            r#"{"text":"\x","id":7}"#,
            r#"{"text":"C:\","id":7}"#,
            r#"{"id":7,"id":8}"#,
            r#"{"":1,"\u0069d":7,"text":NaN}"#,
            "{\"text\":\"a\tb\",\"id\":7}",
            r#"{"id":7}{"id":8}"#,
        ] {
            assert_eq!(id(line), Some(json!(7)), "{line}");
        }
        assert_eq!(id(r#"{"id":"a\"b\u00e9",,}"#), Some(json!("a\"bé")));
        assert_eq!(id(r#"{"id":-1.5e3,,}"#), Some(json!(-1500.0)));
        assert_eq!(Seeker::find(b"{\"text\":\"\xff\",\"id\":7}").id.map(|id| json!(id)), Some(json!(7)));
    }

    #[test]
    fn what_is_no_id_is_not_taken_for_one() {
        for line in [
            "",
            "id 7",
            r#""id":7"#,
            r#"["id":7]"#,
            r#"[{"id":7}]"#,
            r#"{"meta":{"id":7},,}"#,
            r#"{"id":{"id":7},,}"#,
            r#"{"id":[7],,}"#,
            r#"{"id":null,,}"#,
            r#"{"id":7x,,}"#,
            r#"{"text":"\"id\":7","#,
            r#"{"text":"5" wide","meta":{"id":7}}"#,
            r#"{"text":"5" wide","id":7,"meta":{"id":8}}"#,
            r#"{"text":"5" wide and \"id\":7}"#,
            &format!(r#"{{"id":"{}",,}}"#, "x".repeat(65)),
            &format!(r#"{{"id":"{}",,}}"#, "x".repeat(1 << 20)),
        ] {
            assert_eq!(id(line), None, "{line:.80}");
        }
    }

    #[test]
    fn the_other_marks_are_found_as_well() {
        let marks = Seeker::find(br#"{"cmd":"send","may_fail":true,"text":}"#);
        assert_eq!(marks, Marks { id: None, cmd: Some("send".into()), may_fail: true });
        assert!(!Seeker::find(br#"{"may_fail":1,,}"#).may_fail);
    }

    #[test]
    fn a_long_line_takes_no_memory() {
        let mut seeker = Seeker::default();
        seeker.look(b"{\"text\":\"");
        for _ in 0..64 {
            seeker.look(&[b'x'; 1 << 16]);
            assert!(seeker.token.capacity() <= 2 * MAX_TOKEN);
        }
        seeker.look(b"\",\"id\":\"last\"}");
        assert_eq!(seeker.found().id, Some(CommandId::Text("last".into())));
    }
}
