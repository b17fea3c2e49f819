//! Texts that people take for the same, and programs don't: other case, blanks at the ends, and the several ways of Unicode to
//! write one letter, of which NFC is the usual one.

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// The byte order mark, which some editors put before a file's first line.
pub const BOM: char = '\u{feff}';

/// A name as people tell it from others: without the differences that are easily overlooked.
pub fn folded(name: &str) -> String {
    let name = name.trim();
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.nfc().flat_map(char::to_lowercase).nfc().collect()
}

/// The difference between two names that fold to the same.
pub fn difference(one: &str, other: &str) -> &'static str {
    match (one.trim(), other.trim()) {
        (one, other) if one == other => "in blanks at its ends",
        (one, other) if one.nfc().eq(other.nfc()) => "in the form of its letters in Unicode, which can't be seen",
        _ => "in upper and lower case",
    }
}

/// A reason why a secret may be another one than people think, whoever types it.
pub fn oddity(secret: &str) -> Option<&'static str> {
    match secret {
        _ if secret.starts_with(BOM) => Some("begins with a byte order mark (U+FEFF), which counts"),
        _ if secret.trim() != secret => Some("begins or ends with a blank, which counts"),
        _ if !is_nfc(secret) => Some("has letters in a form (not NFC) that other keyboards may not type"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_to_the_same_if_people_take_them_for_the_same() {
        let alike = [
            ("general", "General", "in upper and lower case"),
            ("general", " general\u{a0}", "in blanks at its ends"),
            ("café", "cafe\u{301}", "in the form of its letters in Unicode, which can't be seen"),
            ("ÜBER", "u\u{308}ber\n", "in upper and lower case"),
            ("Σίσυφος", "ΣΊΣΥΦΟς", "in upper and lower case"),
        ];
        for (one, other, how) in alike {
            assert_eq!(folded(one), folded(other), "{one} {other}");
            assert_eq!(difference(one, other), how, "{one} {other}");
        }
        for (one, other) in [("general", "generals"), ("cafe", "café"), ("a b", "ab"), ("ﬁ", "fi")] {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
    }

    #[test]
    fn secrets_that_others_may_not_type_are_odd() {
        for plain in ["correct horse", "né à Zürich", "한글", "x"] {
            assert_eq!(oddity(plain), None, "{plain}");
        }
        for odd in ["\u{feff}x", "x ", "\tx", "x\u{a0}", " ", "ne\u{301}", "\u{212b}"] {
            assert!(oddity(odd).is_some(), "{odd:?}");
        }
    }
}
