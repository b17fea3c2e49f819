//! What goes wrong and no command asked: what a person should know, and what a node can't go on with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `warning`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Warning<'a> {
    /// Stable, for programs.
    pub code: WarningCode,
    /// For people.
    pub message: &'a str,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// The limit of open files is near or reached.
    OpenFiles,
    /// A peer claims this node's own id.
    OwnIdTaken,
    /// A neighbour does not read fast enough: messages for it are being dropped.
    SlowPeer,
    /// Accepting a link failed.
    AcceptFailed,
    /// A microphone or speaker has gone.
    DeviceLost,
    /// It is back.
    DeviceBack,
    /// There is no sound device: voice goes on without.
    NoDevice,
    /// A file, pipe or device of sound did something that a person should know.
    Audio,
    /// The codec could not be made: voice goes out as PCM.
    Codec,
    /// It is not known at which address voice reaches this node.
    NoVoiceAddress,
    /// The state folder's store was damaged: it was set aside, and a new one begun.
    StateDamaged,
    /// What is to be kept can't be written into the state folder; the node goes on, and tries again.
    StateNotSaved,
    /// A room uses the original's encryption, which is weak.
    WeakKey,
    /// An address is banned for a while.
    Banned,
    /// A member's voice can't be opened: most likely its passphrase of the room is another.
    VoiceKey,
    /// A passphrase or a network's key that others may easily have another one of: blanks at its ends, another form than NFC, a
    /// byte order mark.
    OddKey,
    /// Messages come for a room whose name differs from a shown one only in case, form (NFC) or blanks at its ends.
    SimilarRoom,
    /// Nobody in voice is heard or can be sent to: `voice_peers` tells why.
    VoiceUnheard,
    /// Others can read or change what is in the state folder.
    StatePermissions,
}

/// `fatal`
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Fatal<'a> {
    /// Stable, for programs.
    pub code: FatalCode,
    /// For people.
    pub message: &'a str,
}

/// Why a node can't start or go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FatalCode {
    /// The address is in use.
    AddressInUse,
    /// The address can't be bound for another reason.
    CannotBind,
    /// A file named on the command line can't be read.
    CannotRead,
    /// A microphone or speaker named on the command line can't be opened.
    CannotOpen,
    /// Another process uses the state folder.
    StateInUse,
    /// A file of the state folder that can't be done without is damaged.
    StateDamaged,
    /// The state folder was made by a newer version of the program.
    StateTooNew,
    /// The state folder can't be used for another reason.
    StateUnusable,
    /// The limit of open files is too low (`ulimit -n`).
    OpenFiles,
    /// An error inside: a bug.
    Internal,
}
