//! Which devices there are, what their names are, and which is meant.
//!
//! Everything here asks a sound server and so may hang with it: it is never called from the event loop, and where it
//! matters on a thread that can be left behind.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{BufferSize, HostId, SampleFormat, StreamConfig, SupportedBufferSize};

use crate::audio::clock::now;
use crate::audio::spec::Devices;

/// The period that a device is asked to use, in parts of a second: 5 ms, a quarter of a frame of ours. Each
/// millisecond here is three from mouth to ear: a sound server keeps two periods, the ring one.
const PERIODS: u32 = 200;
/// The same without PulseAudio's own client: 10 ms. With less, ALSA's plugin that leads to a sound server runs dry when the
/// machine is busy, and does not recover.
const SLOW_PERIODS: u32 = 100;
/// cpal's name for the host that is treated apart. Its id is there only on some systems.
const PULSE: &str = "pulseaudio";
/// How long cpal waits for a PulseAudio server that takes connections and does not speak.
const PULSE_TIMEOUT: Duration = Duration::from_secs(2);
/// After so many such waits the pause before the next does not grow further: two hours.
const MAX_HUNG: u32 = 12;

/// A device that was chosen: by name, or the system's default, which may change.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Its name, as it is shown.
    pub name: String,
    input: bool,
    by_name: Option<String>,
    host: HostId,
}

impl Choice {
    /// Finds it, by its host: to build a stream, or anew after it has gone.
    pub fn find(&self) -> Option<cpal::Device> {
        find(&*open_host(self.host)?, self.by_name.as_deref(), self.input)
    }

    /// Whether it is a default that may become another device.
    pub fn is_followed(&self) -> bool {
        self.by_name.is_none() && is_pulse(self.host)
    }
}

/// Chooses a device. `None`: the default was asked for, and there is none.
///
/// # Errors
/// If there is none of that name: which there are.
pub fn choose(name: Option<&str>, input: bool) -> Result<Option<Choice>, String> {
    silence_alsa();
    // A name may say whose it is: `alsa:hw:CARD=0,DEV=0`.
    let (only, bare) = match name.and_then(|name| name.split_once(':')) {
        Some((host, bare)) if host.parse::<HostId>().is_ok() => (Some(host), Some(bare)),
        _ => (None, name),
    };
    let bare = bare.filter(|bare| !(only.is_some() && *bare == "default"));
    let hosts = host_ids().into_iter().filter(|id| only.is_none_or(|only| id.to_string() == only));
    for host in hosts.filter_map(open_host) {
        // What cannot be asked for its rate is no device: ALSA has a default where there is no hardware.
        let found = find(&host, bare, input).filter(|device| bare.is_some() || config_of(device, input).is_some());
        if let Some(found) = found.and_then(|device| name_of(&device)) {
            let name = only.map_or(found.clone(), |host| format!("{host}:{found}"));
            return Ok(Some(Choice { name, input, by_name: bare.map(str::to_owned), host: host.id() }));
        }
        // A sound server knows what its machine has. ALSA would lead to it once more, by a plugin.
        if bare.is_none() && is_pulse(host.id()) {
            break;
        }
    }
    name.map_or(Ok(None), |name| Err(none_of_that_name(name, input)))
}

fn none_of_that_name(name: &str, input: bool) -> String {
    let devices = list();
    let all = if input { devices.inputs } else { devices.outputs };
    let names: Vec<String> = all.iter().map(|(name, _)| format!("`{}`", name.escape_debug())).collect();
    let there = if names.is_empty() { "no devices are there".to_owned() } else { names.join(", ") };
    let what = if input { "microphone" } else { "speaker" };
    format!("`{}`: no such {what} is there; to choose from: {there}", name.escape_debug())
}

/// All devices.
pub fn list() -> Devices {
    silence_alsa();
    let mut devices = Devices::default();
    // Only the first host that knows any: the next ones show the same hardware again.
    for host in host_ids().into_iter().filter_map(open_host) {
        for (input, names) in [(true, &mut devices.inputs), (false, &mut devices.outputs)] {
            let default = find(&host, None, input).and_then(|device| name_of(&device));
            let all = host.devices().into_iter().flatten().filter(|device| is(device, input));
            let all = all.filter_map(|device| name_of(&device)).filter(|name| is_real(name));
            names.extend(all.map(|name| (name.clone(), default.as_ref() == Some(&name))));
        }
        if !devices.inputs.is_empty() || !devices.outputs.is_empty() {
            break;
        }
    }
    devices
}

/// The system's ways to sound, PulseAudio first.
fn host_ids() -> Vec<HostId> {
    let mut ids = cpal::available_hosts();
    ids.sort_by_key(|id| !is_pulse(*id));
    ids
}

fn is_pulse(id: HostId) -> bool {
    id.to_string() == PULSE
}

fn open_host(id: HostId) -> Option<Arc<cpal::Host>> {
    if is_pulse(id) {
        return PULSE_HOST.lock().unwrap_or_else(PoisonError::into_inner).open(id);
    }
    cpal::host_from_id(id).ok().map(Arc::new)
}

/// The connection to PulseAudio, made once and used for all: one that is let go of is never closed (its thread waits for
/// the server for ever), and a server takes 64.
static PULSE_HOST: Mutex<PulseHost> = Mutex::new(PulseHost { open: None, hung: 0, again: None });

struct PulseHost {
    open: Option<Arc<cpal::Host>>,
    /// How often a server took the connection and did not speak. Each time leaves a thread behind: so it is done
    /// ever more seldom.
    hung: u32,
    again: Option<Instant>,
}

impl PulseHost {
    fn open(&mut self, id: HostId) -> Option<Arc<cpal::Host>> {
        if let Some(open) = &self.open
            && open.devices().is_ok()
        {
            return Some(open.clone());
        }
        let began = now();
        if self.again.is_some_and(|again| began < again) {
            return None;
        }
        self.open = cpal::host_from_id(id).ok().map(Arc::new);
        let hung = self.open.is_none() && now() - began >= PULSE_TIMEOUT;
        self.hung = if hung { (self.hung + 1).min(MAX_HUNG) } else { 0 };
        self.again = hung.then(|| now() + PULSE_TIMEOUT * (1 << self.hung));
        self.open.clone()
    }
}

/// Keeps ALSA from writing on stderr what it can't find; this thread's errors only.
pub fn silence_alsa() {
    #[cfg(any(target_os = "linux", target_os = "dragonfly", target_os = "freebsd", target_os = "netbsd"))]
    drop(alsa::Output::local_error_handler());
}

fn find(host: &cpal::Host, name: Option<&str>, input: bool) -> Option<cpal::Device> {
    let env = std::env::var(if input { "PULSE_SOURCE" } else { "PULSE_SINK" }).ok();
    let by_env = env.as_deref().filter(|_| name.is_none() && is_pulse(host.id()));
    let Some(name) = name.or(by_env).filter(|name| !name.is_empty()) else { return default_of(host, input) };
    host.devices().ok()?.find(|device| {
        let described = || device.description().ok().is_some_and(|it| it.name() == name);
        is(device, input) && (name_of(device).as_deref() == Some(name) || described())
    })
}

/// The default device. Where PulseAudio has no microphone it takes the sound of the default speaker for one: that is none.
fn default_of(host: &cpal::Host, input: bool) -> Option<cpal::Device> {
    let speaker = || host.default_output_device();
    let device = if input { host.default_input_device()? } else { speaker()? };
    let name = name_of(&device).filter(|name| is_real(name))?;
    let echo =
        name.strip_suffix(".monitor").is_some_and(|of| speaker().and_then(|it| name_of(&it)).as_deref() == Some(of));
    (!(input && is_pulse(host.id()) && echo)).then_some(device)
}

/// Its name: on PulseAudio that of the sink or source, elsewhere what the host calls it.
pub fn name_of(device: &cpal::Device) -> Option<String> {
    Some(device.id().ok()?.id().to_owned())
}

/// ALSA lists plugins among its devices that run thousands of times too fast, or lead in circles; and PulseAudio has a
/// speaker that nobody hears where there is none.
fn is_real(name: &str) -> bool {
    let pseudo = [
        "null",
        "pulse",
        "jack",
        "oss",
        "lavrate",
        "samplerate",
        "speexrate",
        "speex",
        "a52",
        "upmix",
        "vdownmix",
        "auto_null",
    ];
    !pseudo.iter().any(|pseudo| match name.strip_prefix(pseudo) {
        Some(rest) => rest.is_empty() || rest.starts_with(':') || rest == ".monitor",
        None => false,
    })
}

fn is(device: &cpal::Device, input: bool) -> bool {
    if input { device.supports_input() } else { device.supports_output() }
}

/// The device's own rate, and one channel of floats if it takes that (sound servers do), else what it likes best.
pub fn config_of(device: &cpal::Device, input: bool) -> Option<(StreamConfig, SampleFormat)> {
    let liked = if input { device.default_input_config() } else { device.default_output_config() }.ok()?;
    let rate = liked.sample_rate();
    let simple = |range: &cpal::SupportedStreamConfigRange| {
        range.channels() == 1
            && (range.min_sample_rate()..=range.max_sample_rate()).contains(&rate)
            && range.sample_format() == SampleFormat::F32
    };
    let simple = match input {
        true => device.supported_input_configs().ok()?.find(simple),
        false => device.supported_output_configs().ok()?.find(simple),
    };
    let config = simple.map_or(liked, |range| range.with_sample_rate(rate));
    let by_pulse = device.id().is_ok_and(|id| is_pulse(id.host()));
    let period = rate / if by_pulse { PERIODS } else { SLOW_PERIODS };
    let buffer_size = match config.buffer_size() {
        SupportedBufferSize::Range { min, max } => BufferSize::Fixed(period.clamp(*min, (*max).max(*min))),
        SupportedBufferSize::Unknown => BufferSize::Default,
    };
    let stream = StreamConfig { channels: config.channels(), sample_rate: rate, buffer_size };
    Some((stream, config.sample_format()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudo_devices_are_known() {
        for name in ["null", "pulse", "samplerate", "speex", "jack:x", "auto_null", "auto_null.monitor"] {
            assert!(!is_real(name), "{name}");
        }
        for name in ["default", "hw:CARD=0,DEV=0", "nullius", "mic.monitor", "alsa_output.pci-0000_00.analog-stereo"] {
            assert!(is_real(name), "{name}");
        }
    }
}
