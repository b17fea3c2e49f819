//! The names that `--mic` and `--speaker` take.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::wav::Recordings;

/// A microphone.
#[derive(Debug, Clone, PartialEq)]
pub enum MicSpec {
    /// The system's, or none if there is none.
    Default,
    /// None: a listener.
    None,
    /// A device, by name.
    Device(String),
    /// A tone, in Hz.
    Tone(f64),
    /// A WAV file.
    File {
        /// Where it is.
        path: PathBuf,
        /// Whether it begins again at its end; else there is silence.
        looped: bool,
    },
    /// A named pipe with raw 16-bit little-endian PCM, 16 kHz, mono.
    Pipe(PathBuf),
}

/// A speaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpeakerSpec {
    /// The system's, or none if there is none.
    Default,
    /// None.
    None,
    /// A device, by name.
    Device(String),
    /// A WAV file, written anew: 16-bit, 16 kHz, mono.
    File(PathBuf),
    /// A named pipe, as a microphone's.
    Pipe(PathBuf),
}

/// The meanings of names that both know.
enum Common {
    Default,
    None,
    Wav(PathBuf, bool),
    Pipe(PathBuf),
    Tone(String),
    Device(String),
}

/// The longest name of a device, in bytes: no line shall grow by it.
const MAX_DEVICE: usize = 256;

fn read(name: &str) -> Result<Common, String> {
    if name.contains('\0') {
        return Err("no name has a NUL in it".to_owned());
    }
    Ok(match name {
        "" => return Err("name one: default, none, a device, FILE.wav or pipe:PATH".to_owned()),
        "default" => Common::Default,
        "none" => Common::None,
        _ if name.starts_with("pipe:") => match name.split_at("pipe:".len()).1 {
            "" => return Err("`pipe:` takes a path behind it".to_owned()),
            path => Common::Pipe(path.into()),
        },
        _ if name.starts_with("tone:") => Common::Tone(name.split_at("tone:".len()).1.to_owned()),
        _ if is_wav(name) => Common::Wav(name.into(), false),
        _ => match name.strip_suffix(",loop").filter(|file| is_wav(file)) {
            Some(file) => Common::Wav(file.into(), true),
            None if name.len() > MAX_DEVICE => return Err(format!("a device's name has at most {MAX_DEVICE} bytes")),
            None => Common::Device(name.to_owned()),
        },
    })
}

fn is_wav(name: &str) -> bool {
    name.len() > 4 && name.get(name.len() - 4..).is_some_and(|end| end.eq_ignore_ascii_case(".wav"))
}

impl FromStr for MicSpec {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match read(name)? {
            Common::Default => Self::Default,
            Common::None => Self::None,
            Common::Wav(path, looped) => Self::File { path, looped },
            Common::Pipe(path) => Self::Pipe(path),
            Common::Device(name) => Self::Device(name),
            Common::Tone(hz) => match hz.parse() {
                Ok(hz) if (1.0..=8000.0).contains(&hz) => Self::Tone(hz),
                _ => return Err("a tone is from 1 to 8000 Hz, as in tone:440".to_owned()),
            },
        })
    }
}

impl MicSpec {
    /// The same; but a file, if what would be a device's name is that of a file.
    #[must_use]
    pub fn or_file(self) -> Self {
        let is_file = |path: &str| std::fs::metadata(path).is_ok_and(|found| found.is_file());
        match self {
            Self::Device(name) if is_file(&name) => Self::File { path: name.into(), looped: false },
            Self::Device(name) => match name.strip_suffix(",loop").filter(|path| is_file(path)) {
                Some(path) => Self::File { path: path.into(), looped: true },
                None => Self::Device(name),
            },
            other => other,
        }
    }
}

impl FromStr for SpeakerSpec {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match read(name)? {
            Common::Default => Self::Default,
            Common::None => Self::None,
            Common::Wav(path, false) => Self::File(path),
            Common::Wav(_, true) => return Err("only a microphone's file can loop".to_owned()),
            Common::Pipe(path) => Self::Pipe(path),
            Common::Device(name) => Self::Device(name),
            Common::Tone(_) => return Err("a tone is for a microphone".to_owned()),
        })
    }
}

impl fmt::Display for MicSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::None => f.write_str("none"),
            Self::Device(name) => f.write_str(name),
            Self::Tone(hz) => write!(f, "tone:{hz}"),
            Self::File { path, looped } => write!(f, "{}{}", path.display(), if *looped { ",loop" } else { "" }),
            Self::Pipe(path) => write!(f, "pipe:{}", path.display()),
        }
    }
}

impl fmt::Display for SpeakerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::None => f.write_str("none"),
            Self::Device(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Pipe(path) => write!(f, "pipe:{}", path.display()),
        }
    }
}

/// A microphone and a speaker that are to be opened.
#[derive(Debug, Clone)]
pub struct Config {
    /// The microphone.
    pub mic: MicSpec,
    /// The speaker.
    pub speaker: SpeakerSpec,
    /// How much too fast the clocks of what is no device run, in millionths. For tests.
    pub clock_ppm: f64,
    /// The files that this run has recorded into.
    pub recordings: Recordings,
}

/// Sound devices, by name, and whether each is the system's default.
#[derive(Debug, Default, Clone)]
pub struct Devices {
    /// Microphones.
    pub inputs: Vec<(String, bool)>,
    /// Speakers.
    pub outputs: Vec<(String, bool)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_they_say() {
        for name in ["default", "none", "tone:440", "a/b.wav", "b.WAV,loop", "pipe:/x/y", "USB Headset, Mono", "wav"] {
            let mic: MicSpec = name.parse().expect(name);
            assert_eq!(mic.to_string(), name);
            match (name, name.parse::<SpeakerSpec>()) {
                ("tone:440" | "b.WAV,loop", speaker) => assert!(speaker.is_err(), "{name}"),
                (_, speaker) => assert_eq!(speaker.expect(name).to_string(), name),
            }
        }
        assert_eq!("x.wav,loop".parse(), Ok(MicSpec::File { path: "x.wav".into(), looped: true }));
        assert_eq!("USB".parse(), Ok(SpeakerSpec::Device("USB".into())));
    }

    #[test]
    fn a_file_of_any_name_is_a_microphone() {
        let path = std::env::temp_dir().join(format!("p2p-chat-spec-{}", std::process::id()));
        let name = path.display().to_string();
        let device = || MicSpec::Device(name.clone());
        assert_eq!(device().or_file(), device());
        std::fs::write(&path, "").expect("written");
        assert_eq!(device().or_file(), MicSpec::File { path: path.clone(), looped: false });
        let looped: MicSpec = format!("{name},loop").parse().expect("a name");
        assert_eq!(looped.or_file(), MicSpec::File { path: path.clone(), looped: true });
        assert_eq!(MicSpec::Device("/".into()).or_file(), MicSpec::Device("/".into()));
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn odd_names_are_refused_with_a_word_on_what_goes() {
        for name in ["", "tone:", "tone:x", "tone:0", "tone:9000", "tone:NaN", "pipe:", "a\0b", &"x".repeat(300)] {
            assert!(name.parse::<MicSpec>().is_err(), "{name}");
        }
        assert!("".parse::<SpeakerSpec>().expect_err("empty").contains("FILE.wav"));
    }
}
