//! The folder, on a real disk.

#![allow(clippy::disallowed_methods, reason = "a test's folder has a name of its own")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use redb::{Database, TableDefinition};

use super::store::Change;
use super::*;
use crate::api::event::FatalCode;
use crate::node::Table;

/// A path in a folder of the test's own.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("p2p-chat-state-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    fn open(&self) -> Opened {
        open(&self.state()).unwrap_or_else(|refused| panic!("{}", refused.message))
    }

    fn refused(&self) -> FatalCode {
        open(&self.state()).map(drop).expect_err("it can't be used").code
    }

    fn file(&self, name: &str) -> PathBuf {
        self.state().join(name)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.state()).expect("a folder").map(|it| it.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn set(key: &str, value: &str) -> Change {
    (Table::Replay, key.into(), Some(value.into()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn get<'a>(opened: &'a Opened, key: &str) -> Option<&'a [u8]> {
    opened.rows.get(Table::Replay, key)
}

#[test]
fn what_is_kept_is_there_again() {
    let place = Place::new();
    let mut first = place.open();
    assert!(first.warnings.is_empty() && first.rows == State::default());
    first.store.commit(&[set("a", "1"), set("b", "1"), (Table::Own, "epoch".into(), Some(vec![7]))]).expect("room");
    first.store.commit(&[set("a", "2"), (Table::Replay, "b".into(), None)]).expect("room");
    let secret = first.secret;
    drop(first);
    let again = place.open();
    assert_eq!((again.secret, get(&again, "a"), get(&again, "b")), (secret, Some(&b"2"[..]), None));
    assert_eq!(again.rows.get(Table::Own, "epoch"), Some(&[7][..]));
    assert!(again.warnings.is_empty());
    assert_eq!(place.names(), ["identity.key", "lock", "state.redb"]);
    assert_eq!(mode(&place.state()), 0o700);
    for file in place.names() {
        assert_eq!(mode(&place.file(&file)), 0o600, "{file}");
    }
}

#[test]
fn a_folder_has_one_process() {
    let place = Place::new();
    let held = place.open();
    assert_eq!(place.refused(), FatalCode::StateInUse);
    drop(held);
    place.open();
}

#[test]
fn the_folders_above_it_are_not_made_and_a_file_is_no_folder() {
    let place = Place::new();
    let refused = open(&place.state().join("deeper")).map(drop).expect_err("there is none above");
    assert_eq!(refused.code, FatalCode::StateUnusable);
    fs::write(place.state(), "x").expect("a file");
    assert_eq!(place.refused(), FatalCode::StateUnusable);
}

#[test]
fn a_key_file_is_never_written_again() {
    let place = Place::new();
    drop(place.open());
    let path = place.file("identity.key");
    let text = fs::read_to_string(&path).expect("a file");
    fs::write(place.file("identity.key.new"), "left by a crash").expect("a file");
    drop(place.open());
    for (damaged, code) in [
        (text.replace("check ", "check 0"), FatalCode::StateDamaged),
        (text[..40].to_owned(), FatalCode::StateDamaged),
        (String::new(), FatalCode::StateDamaged),
        (text.replace("identity 1", "identity 9"), FatalCode::StateTooNew),
    ] {
        fs::write(&path, &damaged).expect("a file");
        assert_eq!(place.refused(), code, "{damaged}");
        assert_eq!(fs::read_to_string(&path).expect("a file"), damaged, "it is left as it is");
    }
    fs::write(&path, &text).expect("a file");
    place.open();
}

#[test]
fn too_wide_permissions_are_told() {
    let place = Place::new();
    drop(place.open());
    fs::set_permissions(place.file("identity.key"), fs::Permissions::from_mode(0o640)).expect("it is ours");
    fs::set_permissions(place.state(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let opened = place.open();
    let codes: Vec<WarningCode> = opened.warnings.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [WarningCode::StatePermissions; 2], "{:?}", opened.warnings);
    assert!(opened.warnings[1].1.contains("640") && opened.warnings[1].1.contains("chmod 600"));
}

#[test]
fn a_damaged_store_is_set_aside_and_told() {
    let place = Place::new();
    let mut opened = place.open();
    let rows: Vec<Change> = (0..200).map(|n| set(&format!("{n}"), &"x".repeat(50))).collect();
    opened.store.commit(&rows).expect("room");
    drop(opened);
    let path = place.file("state.redb");
    let whole = fs::read(&path).expect("a file");
    let mut damages: Vec<Vec<u8>> = vec![Vec::new(), b"not a database".to_vec(), whole[..whole.len() / 2].to_vec()];
    // A changed byte in each piece of what the file holds: that is noticed, or does not matter.
    for at in (0..whole.len()).step_by(509).take(60) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        damages.push(changed);
    }
    let mut aside = 0;
    for damaged in &damages {
        fs::write(&path, damaged).expect("a file");
        let opened = place.open();
        let told = opened.warnings.iter().any(|(code, _)| *code == WarningCode::StateDamaged);
        if told {
            aside += 1;
            assert_eq!(opened.rows, State::default());
            let kept = fs::read(place.file(&format!("state.redb.damaged-{aside}"))).expect("it is kept");
            assert_eq!(kept.len(), damaged.len());
        } else {
            assert_eq!(opened.rows.rows(Table::Replay).count(), 200, "what is not told is whole");
        }
    }
    assert!(aside >= 6, "only {aside} of {} were told", damages.len());
}

#[test]
fn what_a_newer_version_wrote_is_not_touched() {
    let place = Place::new();
    drop(place.open());
    let path = place.file("state.redb");
    let database = Database::open(&path).expect("a store");
    let writing = database.begin_write().expect("room");
    writing
        .open_table(TableDefinition::<&str, u64>::new("meta"))
        .expect("it is there")
        .insert("schema", 2)
        .expect("room");
    writing.commit().expect("room");
    drop(database);
    let before = fs::read(&path).expect("a file");
    assert_eq!(place.refused(), FatalCode::StateTooNew);
    assert_eq!(fs::read(&path).expect("a file"), before);
    assert_eq!(place.names(), ["identity.key", "lock", "state.redb"]);
}

#[test]
fn a_file_that_was_taken_away_is_noticed_and_made_again() {
    let place = Place::new();
    let mut opened = place.open();
    opened.store.commit(&[set("a", "1")]).expect("room");
    fs::remove_file(place.file("state.redb")).expect("it is there");
    opened.store.commit(&[set("b", "1")]).expect_err("it would be lost");
    opened.store.commit(&[set("b", "1"), set("c", "1")]).expect("a new file");
    let secret = opened.secret;
    // The whole folder is moved, and comes back.
    let away = place.0.join("away");
    fs::rename(place.state(), &away).expect("it is there");
    opened.store.commit(&[set("d", "1")]).expect_err("it would be lost");
    opened.store.commit(&[set("d", "1")]).expect_err("no folder is made in its place");
    fs::rename(&away, place.state()).expect("it is there");
    opened.store.commit(&[set("d", "1")]).expect("it is back");
    drop(opened);
    let again = place.open();
    assert_eq!(again.secret, secret);
    assert_eq!(["a", "b", "c", "d"].map(|key| get(&again, key)), [Some(&b"1"[..]); 4]);
}

#[test]
fn a_folder_that_was_made_anew_gets_the_key_too() {
    let place = Place::new();
    let mut opened = place.open();
    opened.store.commit(&[set("a", "1")]).expect("room");
    fs::remove_dir_all(place.state()).expect("it is there");
    fs::create_dir(place.state()).expect("room");
    opened.store.commit(&[set("b", "1")]).expect_err("it would be lost");
    opened.store.commit(&[set("b", "1")]).expect("a new file");
    let secret = opened.secret;
    assert_eq!(place.refused(), FatalCode::StateInUse);
    drop(opened);
    let again = place.open();
    assert_eq!((again.secret, get(&again, "a"), get(&again, "b")), (secret, Some(&b"1"[..]), Some(&b"1"[..])));
}

#[test]
fn a_key_that_is_gone_and_a_store_that_others_may_read_are_told() {
    let place = Place::new();
    let first = place.open().secret;
    fs::set_permissions(place.file("state.redb"), fs::Permissions::from_mode(0o644)).expect("ours");
    fs::remove_file(place.file("identity.key")).expect("it was made");
    let opened = place.open();
    let codes: Vec<_> = opened.warnings.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [WarningCode::StateDamaged, WarningCode::StatePermissions]);
    assert_ne!(opened.secret, first);
    drop(opened);
    fs::set_permissions(place.file("state.redb"), fs::Permissions::from_mode(0o600)).expect("ours");
    assert!(place.open().warnings.is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_key_file_that_is_no_file_is_refused() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let place = Place::new();
    drop(place.open());
    fs::remove_file(place.file("identity.key")).expect("it was made");
    // A pipe would be waited for.
    mknodat(CWD, place.file("identity.key"), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    assert_eq!(place.refused(), FatalCode::StateUnusable);
}
